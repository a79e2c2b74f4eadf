package io.mobilebert.tests

/** Reads JSON: objects as maps, arrays as lists, whole numbers as `Long`, others as `Double`. */
class Json private constructor(private val text: String) {
    private var at = 0

    private fun value(): Any? {
        space()
        return when (val next = text[at]) {
            '{' -> items('}') { string().also { expect(':') } to value() }.toMap()
            '[' -> items(']') { value() }
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> if (next == '-' || next.isDigit()) number() else throw wrong("a value")
        }
    }

    private fun <T> items(end: Char, item: () -> T): List<T> {
        at += 1
        val found = ArrayList<T>()
        space()
        if (text[at] == end) {
            at += 1
            return found
        }
        while (true) {
            space()
            found += item()
            space()
            val next = text[at]
            at += 1
            if (next == end) return found
            if (next != ',') throw wrong("`,` or `$end`")
        }
    }

    private fun string(): String {
        expect('"')
        val found = StringBuilder()
        while (true) {
            val next = text[at]
            at += 1
            when (next) {
                '"' -> return found.toString()
                '\\' -> found.append(escape())
                else -> found.append(next)
            }
        }
    }

    private fun escape(): Char {
        val next = text[at]
        at += 1
        return when (next) {
            'b' -> '\b'
            'f' -> '\u000c'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> text.substring(at, at + 4).toInt(16).toChar().also { at += 4 }
            '"', '\\', '/' -> next
            else -> throw wrong("an escape")
        }
    }

    private fun number(): Any {
        val start = at
        while (at < text.length && text[at] in "+-.eE0123456789") at += 1
        val written = text.substring(start, at)
        return written.toLongOrNull() ?: written.toDouble()
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, at)) throw wrong(word)
        at += word.length
        return value
    }

    private fun expect(wanted: Char) {
        space()
        if (text[at] != wanted) throw wrong("`$wanted`")
        at += 1
    }

    private fun space() {
        while (at < text.length && text[at].isWhitespace()) at += 1
    }

    private fun wrong(expected: String) = IllegalArgumentException("character $at: expected $expected")

    companion object {
        fun read(text: String): Any? {
            val json = Json(text)
            val value = json.value()
            json.space()
            if (json.at != text.length) throw json.wrong("the end")
            return value
        }
    }
}
