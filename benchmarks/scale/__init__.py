"""The pipeline beside its peers, up to as many contacts as the machine holds."""
