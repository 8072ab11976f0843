"""What customers and employees write, in the five languages, by what it is about.

The simulator picks a topic that agrees with the score and with what truly drove it.
Keeps out: scores and their causes (that is `opinions`).
"""

LANGUAGES = ("da", "no", "sv", "de", "en")

COMMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "late": {
        "da": (
            "Pakken kom flere dage for sent.",
            "Leveringen var forsinket, og jeg hørte intet undervejs.",
            "I lovede levering på to dage. Det holdt ikke.",
        ),
        "no": (
            "Pakken kom flere dager for sent.",
            "Leveringen var forsinket, og jeg fikk ingen beskjed.",
            "Dere lovet en dato og holdt den ikke.",
        ),
        "sv": (
            "Paketet kom flera dagar för sent.",
            "Leveransen var försenad och jag fick inget besked.",
            "Ni lovade ett datum och höll det inte.",
        ),
        "de": (
            "Das Paket kam mehrere Tage zu spät.",
            "Die Lieferung war verspätet, und niemand hat Bescheid gesagt.",
            "Der versprochene Liefertermin wurde nicht eingehalten.",
        ),
        "en": (
            "The parcel came several days late.",
            "Delivery was delayed and nobody told me.",
            "You promised a date and did not keep it.",
        ),
    },
    "early": {
        "da": (
            "Hurtigere levering, end jeg havde ventet.",
            "Pakken var her før lovet.",
            "Nemt at bestille og hurtigt leveret.",
        ),
        "no": (
            "Raskere levering enn jeg hadde ventet.",
            "Pakken kom før lovet.",
            "Lett å bestille og raskt levert.",
        ),
        "sv": (
            "Snabbare leverans än jag hade väntat mig.",
            "Paketet kom tidigare än utlovat.",
            "Lätt att beställa och snabbt levererat.",
        ),
        "de": (
            "Schnellere Lieferung, als ich erwartet hatte.",
            "Das Paket kam früher als versprochen.",
            "Einfach bestellt und schnell geliefert.",
        ),
        "en": (
            "Faster delivery than I had expected.",
            "The parcel came earlier than promised.",
            "Easy to order and quickly delivered.",
        ),
    },
    "on_time": {
        "da": (
            "Hurtig levering, alt kom til tiden.",
            "Pakken kom på den lovede dag.",
            "Nemt at bestille og hurtigt leveret.",
        ),
        "no": (
            "Rask levering, alt kom i tide.",
            "Pakken kom på den lovede dagen.",
            "Lett å bestille og raskt levert.",
        ),
        "sv": (
            "Snabb leverans, allt kom i tid.",
            "Paketet kom på utlovad dag.",
            "Lätt att beställa och snabbt levererat.",
        ),
        "de": (
            "Schnelle Lieferung, alles pünktlich.",
            "Das Paket kam am versprochenen Tag.",
            "Einfach bestellt und schnell geliefert.",
        ),
        "en": (
            "Fast delivery, everything on time.",
            "The parcel came on the promised day.",
            "Easy to order and quickly delivered.",
        ),
    },
    "staff_bad": {
        "da": (
            "Ekspedienten virkede uinteresseret.",
            "Jeg følte mig ikke velkommen, betjeningen var kort for hovedet.",
            "Medarbejderen kunne ikke svare på mine spørgsmål.",
        ),
        "no": (
            "Ekspeditøren virket uinteressert.",
            "Jeg følte meg ikke velkommen, betjeningen var avvisende.",
            "Den ansatte kunne ikke svare på spørsmålene mine.",
        ),
        "sv": (
            "Expediten verkade ointresserad.",
            "Jag kände mig inte välkommen, bemötandet var dåligt.",
            "Den anställde kunde inte svara på mina frågor.",
        ),
        "de": (
            "Die Verkäuferin wirkte desinteressiert.",
            "Ich fühlte mich nicht willkommen, die Bedienung war unfreundlich.",
            "Der Mitarbeiter konnte meine Fragen nicht beantworten.",
        ),
        "en": (
            "The assistant did not seem interested.",
            "I did not feel welcome, the service was rude.",
            "The member of staff could not answer my questions.",
        ),
    },
    "staff_good": {
        "da": (
            "Fantastisk betjening, hun tog sig god tid.",
            "Venlig og kyndig vejledning i butikken.",
            "Medarbejderen lyttede og fandt præcis det rigtige.",
        ),
        "no": (
            "Fantastisk betjening, hun tok seg god tid.",
            "Vennlig og kunnskapsrik veiledning i butikken.",
            "Den ansatte lyttet og fant akkurat det rette.",
        ),
        "sv": (
            "Fantastiskt bemötande, hon tog sig tid.",
            "Vänlig och kunnig rådgivning i butiken.",
            "Den anställde lyssnade och hittade precis rätt.",
        ),
        "de": (
            "Großartige Beratung, sie hat sich Zeit genommen.",
            "Freundliche und kompetente Beratung im Geschäft.",
            "Der Mitarbeiter hat zugehört und genau das Richtige gefunden.",
        ),
        "en": (
            "Wonderful service, she took her time.",
            "Friendly and knowledgeable advice in the store.",
            "The member of staff listened and found exactly the right thing.",
        ),
    },
    "queue": {
        "da": (
            "Alt for lang kø ved kassen.",
            "Jeg ventede længe, før nogen havde tid til mig.",
            "For få på arbejde lørdag, køen var endeløs.",
        ),
        "no": (
            "Altfor lang kø ved kassen.",
            "Jeg ventet lenge før noen hadde tid til meg.",
            "For få på jobb, køen var endeløs.",
        ),
        "sv": (
            "Alldeles för lång kö till kassan.",
            "Jag väntade länge innan någon hade tid.",
            "För lite personal, kön tog aldrig slut.",
        ),
        "de": (
            "Viel zu lange Schlange an der Kasse.",
            "Ich habe lange gewartet, bis jemand Zeit hatte.",
            "Zu wenig Personal, die Schlange nahm kein Ende.",
        ),
        "en": (
            "Far too long a queue at the till.",
            "I waited a long time before anyone was free.",
            "Not enough staff, the queue was endless.",
        ),
    },
    "product_bad": {
        "da": (
            "Produktet gik i stykker efter kort tid.",
            "Kvaliteten er dårlig i forhold til prisen.",
            "Varen svarede ikke til beskrivelsen.",
        ),
        "no": (
            "Produktet gikk i stykker etter kort tid.",
            "Kvaliteten er dårlig i forhold til prisen.",
            "Varen stemte ikke med beskrivelsen.",
        ),
        "sv": (
            "Produkten gick sönder efter kort tid.",
            "Kvaliteten är dålig för priset.",
            "Varan stämde inte med beskrivningen.",
        ),
        "de": (
            "Das Produkt ging nach kurzer Zeit kaputt.",
            "Die Qualität ist schlecht für den Preis.",
            "Die Ware entsprach nicht der Beschreibung.",
        ),
        "en": (
            "The product broke after a short time.",
            "Poor quality for the price.",
            "The item did not match the description.",
        ),
    },
    "product_good": {
        "da": (
            "Rigtig god kvalitet, jeg køber den igen.",
            "Produktet lever helt op til forventningerne.",
            "Smuk og solid, meget tilfreds.",
        ),
        "no": (
            "Veldig god kvalitet, jeg kjøper den igjen.",
            "Produktet lever opp til forventningene.",
            "Pen og solid, veldig fornøyd.",
        ),
        "sv": (
            "Mycket bra kvalitet, jag köper den igen.",
            "Produkten motsvarar förväntningarna helt.",
            "Vacker och stabil, mycket nöjd.",
        ),
        "de": (
            "Sehr gute Qualität, ich kaufe es wieder.",
            "Das Produkt hält, was es verspricht.",
            "Schön und solide, sehr zufrieden.",
        ),
        "en": (
            "Really good quality, I will buy it again.",
            "The product does what it promises.",
            "Beautiful and solid, very happy with it.",
        ),
    },
    "generic_good": {
        "da": ("Alt var godt.", "Meget tilfreds.", "Det fungerer bare, tak."),
        "no": ("Alt var bra.", "Veldig fornøyd.", "Det fungerer bare, takk."),
        "sv": ("Allt var bra.", "Mycket nöjd.", "Det bara fungerar, tack."),
        "de": ("Alles bestens.", "Sehr zufrieden.", "Es klappt einfach, danke."),
        "en": ("All good.", "Very satisfied.", "It simply works, thank you."),
    },
    "generic_ok": {
        "da": ("Helt fint, hverken mere eller mindre.", "Okay, men intet særligt.", "Som ventet."),
        "no": ("Helt greit, verken mer eller mindre.", "Ok, men ikke noe spesielt.", "Som ventet."),
        "sv": ("Helt okej, varken mer eller mindre.", "Okej men inget särskilt.", "Som väntat."),
        "de": ("Ganz in Ordnung.", "Okay, aber nichts Besonderes.", "Wie erwartet."),
        "en": ("Fine, no more and no less.", "Okay but nothing special.", "As expected."),
    },
    "generic_bad": {
        "da": ("Ikke tilfreds.", "Det var en skuffelse.", "Det kan I gøre bedre."),
        "no": ("Ikke fornøyd.", "Det var en skuffelse.", "Dette kan dere gjøre bedre."),
        "sv": ("Inte nöjd.", "Det var en besvikelse.", "Det kan ni göra bättre."),
        "de": ("Nicht zufrieden.", "Das war eine Enttäuschung.", "Das könnt ihr besser."),
        "en": ("Not satisfied.", "It was a disappointment.", "You can do better than this."),
    },
    "effort_bad": {
        "da": (
            "Jeg måtte skrive flere gange, før der skete noget.",
            "Det tog alt for lang tid at få svar.",
            "Jeg blev sendt rundt mellem afdelinger.",
        ),
        "no": (
            "Jeg måtte skrive flere ganger før noe skjedde.",
            "Det tok altfor lang tid å få svar.",
            "Jeg ble sendt rundt mellom avdelinger.",
        ),
        "sv": (
            "Jag fick skriva flera gånger innan något hände.",
            "Det tog alldeles för lång tid att få svar.",
            "Jag blev skickad mellan avdelningar.",
        ),
        "de": (
            "Ich musste mehrmals schreiben, bis etwas geschah.",
            "Es hat viel zu lange gedauert, eine Antwort zu bekommen.",
            "Ich wurde von Abteilung zu Abteilung geschickt.",
        ),
        "en": (
            "I had to write several times before anything happened.",
            "It took far too long to get an answer.",
            "I was passed from one department to another.",
        ),
    },
    "effort_good": {
        "da": (
            "Hurtigt svar, og problemet blev løst.",
            "Let at få hjælp.",
            "Løst i første forsøg.",
        ),
        "no": ("Raskt svar, og problemet ble løst.", "Lett å få hjelp.", "Løst på første forsøk."),
        "sv": (
            "Snabbt svar och problemet löstes.",
            "Lätt att få hjälp.",
            "Löst på första försöket.",
        ),
        "de": ("Schnelle Antwort, Problem gelöst.", "Leicht, Hilfe zu bekommen.", "Sofort gelöst."),
        "en": (
            "Quick answer, problem solved.",
            "Easy to get help.",
            "Solved at the first attempt.",
        ),
    },
}
"""Comments by topic and language."""

TOPICS = tuple(COMMENTS)

CASE_CATEGORIES = (
    "delivery",
    "return",
    "product_fault",
    "device_fault",
    "invoice",
    "advice",
    "club",
)

CASES: dict[str, dict[str, tuple[str, str]]] = {
    "delivery": {
        "da": ("Hvor er min pakke?", "Hej, min ordre skulle være kommet nu. Hvor er den?"),
        "no": ("Hvor er pakken min?", "Hei, bestillingen min skulle vært her nå. Hvor er den?"),
        "sv": ("Var är mitt paket?", "Hej, min beställning skulle ha kommit nu. Var är den?"),
        "de": (
            "Wo ist mein Paket?",
            "Guten Tag, meine Bestellung sollte schon da sein. Wo ist sie?",
        ),
        "en": ("Where is my parcel?", "Hello, my order should be here by now. Where is it?"),
    },
    "return": {
        "da": ("Returnering", "Jeg vil gerne sende en vare retur. Hvordan gør jeg?"),
        "no": ("Retur", "Jeg vil gjerne returnere en vare. Hvordan gjør jeg det?"),
        "sv": ("Retur", "Jag vill skicka tillbaka en vara. Hur gör jag?"),
        "de": ("Rücksendung", "Ich möchte einen Artikel zurückschicken. Wie geht das?"),
        "en": ("Return", "I would like to send an item back. How do I do that?"),
    },
    "product_fault": {
        "da": ("Fejl på varen", "Varen virker ikke, som den skal. Kan jeg få en ny?"),
        "no": ("Feil på varen", "Varen virker ikke som den skal. Kan jeg få en ny?"),
        "sv": ("Fel på varan", "Varan fungerar inte som den ska. Kan jag få en ny?"),
        "de": (
            "Defekter Artikel",
            "Der Artikel funktioniert nicht. Kann ich einen neuen bekommen?",
        ),
        "en": ("Faulty item", "The item does not work as it should. Can I have a new one?"),
    },
    "device_fault": {
        "da": ("Mit apparat melder fejl", "Mit lejede apparat blinker rødt og stopper."),
        "no": ("Apparatet melder feil", "Det leide apparatet blinker rødt og stopper."),
        "sv": ("Apparaten visar fel", "Min hyrda apparat blinkar rött och stannar."),
        "de": ("Gerät zeigt Fehler", "Mein gemietetes Gerät blinkt rot und hält an."),
        "en": ("My device shows a fault", "My leased device flashes red and stops."),
    },
    "invoice": {
        "da": ("Spørgsmål til faktura", "Jeg forstår ikke beløbet på min faktura."),
        "no": ("Spørsmål om faktura", "Jeg forstår ikke beløpet på fakturaen."),
        "sv": ("Fråga om faktura", "Jag förstår inte beloppet på min faktura."),
        "de": ("Frage zur Rechnung", "Ich verstehe den Betrag auf meiner Rechnung nicht."),
        "en": ("Question about my invoice", "I do not understand the amount on my invoice."),
    },
    "advice": {
        "da": ("Hvilken skal jeg vælge?", "Kan I hjælpe mig med at vælge det rigtige produkt?"),
        "no": ("Hvilken skal jeg velge?", "Kan dere hjelpe meg å velge riktig produkt?"),
        "sv": ("Vilken ska jag välja?", "Kan ni hjälpa mig att välja rätt produkt?"),
        "de": (
            "Welches soll ich nehmen?",
            "Können Sie mir helfen, das richtige Produkt zu wählen?",
        ),
        "en": ("Which one should I take?", "Can you help me choose the right product?"),
    },
    "club": {
        "da": ("Mine klubpoint", "Mine point fra sidste køb mangler."),
        "no": ("Klubbpoengene mine", "Poengene fra siste kjøp mangler."),
        "sv": ("Mina klubbpoäng", "Poängen från mitt senaste köp saknas."),
        "de": ("Meine Clubpunkte", "Die Punkte vom letzten Einkauf fehlen."),
        "en": ("My club points", "The points of my last purchase are missing."),
    },
}
"""Subject and first message of a case by category and language."""

REPLIES: dict[str, tuple[str, ...]] = {
    "da": ("Tak for din henvendelse. Vi ser på det nu.", "Det har vi ordnet. God dag!"),
    "no": ("Takk for henvendelsen. Vi ser på det nå.", "Det har vi ordnet. Ha en fin dag!"),
    "sv": ("Tack för att du hör av dig. Vi tittar på det nu.", "Nu är det ordnat. Ha en fin dag!"),
    "de": ("Danke für Ihre Nachricht. Wir kümmern uns.", "Das ist erledigt. Einen schönen Tag!"),
    "en": ("Thank you for writing. We are looking into it.", "That is sorted. Have a good day!"),
}
"""First and last reply of an employee."""

FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "da": ("Jeg venter stadig på svar.", "Det er desværre ikke løst."),
    "no": ("Jeg venter fortsatt på svar.", "Det er dessverre ikke løst."),
    "sv": ("Jag väntar fortfarande på svar.", "Det är tyvärr inte löst."),
    "de": ("Ich warte noch auf Antwort.", "Das ist leider nicht gelöst."),
    "en": ("I am still waiting for an answer.", "I am afraid it is not solved."),
}
"""A reminder, and what is written when a case is opened again."""
