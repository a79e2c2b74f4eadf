"""A small cased WordPiece vocabulary of our own, for tokenizer tests only."""

SPECIALS = "[PAD] [UNK] [CLS] [SEP] [MASK]".split()

WORDS = """
the of and to in is was for on as with by at from that it his her an are were be this which or not have has had they
their its but also who what when where why how can will would should could may might must do does did done one two three
four five six seven eight nine ten first second third last next new old good bad big small long short high low great
little own other same different many much more most some any all no none each every both few several before after above
below between under over through during again further then once here there about against into out off up down very too
just only even still never always often sometimes now today tomorrow yesterday day week month year time hour minute
people man woman child men women children person world country city town house home school work place part number way
life water food fire earth air sea river mountain tree flower animal dog cat fox bird fish horse brown quick lazy red
green blue black white yellow jump run walk talk say said make made take took get got give gave go went come came see
saw know knew think thought find found tell told ask answer question write wrote read letter word sentence text page
book story name language phone network mobile computer model token data code file line value test capital largest king
queen president war peace state nation law court power money market price company music film game team player science
history art war north south east west street road car train ship plane family mother father brother sister friend love
heart hand head eye face body mind voice light night sun moon star space rain snow wind summer winter spring autumn
begin end start stop open close turn move play stand sit fall rise live die born help need want like use try call feel
sells buy arrived works said space tail mark control line second leading trailing only same fill please hello because
""".split()  # fmt: skip

NAMES = """
Paris London Berlin Rome Madrid France Germany England Italy Spain Europe America Africa Asia China Japan India Russia
York Francisco Rio San New Janeiro Smith John Mary James Anna Peter Google Monday Tuesday Friday January June December
Dr Mr Mrs I USA UK NATO AI CPU Zürich Straße Łódź Kraków Łó São João İstanbul Ångström Київ Ёлка ΟΔΟΣ café naïve niño
résumé garçon œuvre über Việt Nam São
""".split()  # fmt: skip

SUFFIXES = """
s es ed ing er ers est ly ness ment ments tion tions sion able ible al ial ic ical ous ful less ive ize izes ized ization
ise ity ist ism ship hood ward wards wise en n't 's ve re ll th st nd rd ation ability ated ating ator un in im dis re
pre on an at or ar el il ol ul et it ot ut am em om um ab ub ob ack ick ock uck ain een oon our ough ight ound ance ence
ant ent tic ö ü ä é è ó ß dź ow ów ss gr ström ia io ie ea ou oo ee th ch sh ph qu ck ng nk nt st sp tr dr br cr fr gl
""".split()  # fmt: skip

ACCENTED = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿĐđĞğİıŁłŒœŞşŠšŻżŽžßẞ"
GREEK = "ΑΒΓΔΕΘΛΟΠΣΩαβγδεζηθικλμνοπρσςτυφχψωάέήίό"
CYRILLIC = "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЫЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюяёЁїЇґ"
EAST_ASIAN = "一中国日本人大小上下文北京東天安门我爱猫語年車更豈のはがカタナテキスト한국어각。、「」"
OTHER = "אבגדהולםשابتسلمنहिन्दीนไทย़\u0301\u0302\u0303\u0308\u0327\u0307\u200b\u200d"
SYMBOLS = "€£¥©®°§±×÷½²–—‘’“”…•→≤≥∞√ﬁﬂ😀👍❤☃\ufe0f"


def cased_vocabulary() -> list[str]:
    ascii_characters = [chr(code) for code in range(0x21, 0x7F)]
    alphanumeric = [character for character in ascii_characters if character.isalnum()]
    letters = [*ACCENTED, *GREEK, *CYRILLIC]
    entries = [
        *SPECIALS,
        *ascii_characters,
        *letters,
        *EAST_ASIAN,
        *OTHER,
        *SYMBOLS,
        *WORDS,
        *(word.capitalize() for word in WORDS),
        *NAMES,
        *("##" + character for character in [*alphanumeric, *letters, *EAST_ASIAN, *OTHER]),
        *("##" + suffix for suffix in SUFFIXES),
    ]
    return list(dict.fromkeys(entries))
