"""Whether both engines make the same tables from the same lake."""
