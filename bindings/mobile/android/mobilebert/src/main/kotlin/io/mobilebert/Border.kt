package io.mobilebert

import io.mobilebert.internal.Failure
import io.mobilebert.internal.InternalException
import io.mobilebert.internal.ModelFacts
import io.mobilebert.internal.NamedOption
import io.mobilebert.internal.OptionValue
import io.mobilebert.internal.refuseSurrogate
import java.util.concurrent.atomic.AtomicReference

// What every call to the native library needs: errors in our form, texts that are Unicode, options by name.

/** Runs a call to the native library and throws its errors in the form that users know. */
internal inline fun <T> native(call: () -> T): T =
    try {
        call()
    } catch (failure: Failure.Failed) {
        throw MobileBertException(
            failure.code, failure.text, failure.place, failure.index, failure.position, failure,
        )
    } catch (panic: InternalException) {
        val text = "the engine failed in a way that is a bug; please report it: ${panic.message}"
        throw MobileBertException(MobileBertException.PANIC, text, cause = panic)
    }

/**
 * Keeps an object from being collected before this is called, with all that it holds. The collector may take
 * an object away while a call runs that was given no more than its address or its handle.
 *
 * `Reference.reachabilityFence` is for this, but is not on Android before 9. What is stored where other
 * threads can see it has to be there as well.
 */
internal fun keepUntilHere(kept: Any) {
    lastKept.set(kept)
    lastKept.set(null)
}

private val lastKept = AtomicReference<Any?>()

/** Returns the index of the first half of a surrogate pair that has no other half, or -1. */
internal fun loneSurrogate(text: String): Int {
    var index = 0
    while (index < text.length) {
        val unit = text[index]
        if (unit.isSurrogate()) {
            val isPair = unit.isHighSurrogate() && index + 1 < text.length && text[index + 1].isLowSurrogate()
            if (!isPair) return index
            index += 1
        }
        index += 1
    }
    return -1
}

/**
 * The most bytes that texts may take on their way into the library. They cross the border in one piece, whose
 * size is a whole number of 32 bits.
 */
private const val MOST_BYTES = Int.MAX_VALUE - 64L

/**
 * Throws `input` if texts together may not fit into one call. Room is taken for three bytes for each unit of
 * UTF-16, and for the length of each text. [what] is their role.
 */
internal fun checkSize(what: String, texts: List<String>) {
    val bytes = texts.sumOf { 4 + 3L * it.length }
    if (bytes > MOST_BYTES) {
        val problem =
            "$what: the texts may need $bytes bytes, 3 for each UTF-16 unit, and a call takes $MOST_BYTES; " +
                "pass less at a time"
        throw MobileBertException("input", problem, what)
    }
}

/**
 * Returns a text if it is Unicode, and throws `invalid_text` otherwise. [what] is its role. In a list of
 * inputs it is number [index] of them, and [unit] is what the list holds.
 */
internal fun checked(what: String, text: String, unit: String? = null, index: Int = 0): String {
    checkSize(what, listOf(text))
    val lone = loneSurrogate(text)
    if (lone >= 0) {
        native { refuseSurrogate(what, text[lone].code.toUInt(), text.substring(0, lone), unit, index) }
    }
    return text
}

/** Returns the texts of a list of inputs if all of them are Unicode, and together fit into a call. */
internal fun checkedAll(what: String, texts: List<String>, unit: String): List<String> {
    checkSize(what, texts)
    texts.forEachIndexed { index, text -> checked(what, text, unit, index) }
    return texts
}

/** Turns options by name into the form that crosses the border. */
internal fun namedOptions(options: Map<String, Any?>): List<NamedOption> {
    val named = options.map { (name, value) ->
        NamedOption(checked("option", name), optionValue(name, value))
    }
    checkSize("options", named.flatMap { listOf(it.name) + textsOf(it.value) })
    return named
}

private fun textsOf(value: OptionValue): List<String> =
    when (value) {
        is OptionValue.Text -> listOf(value.value)
        is OptionValue.Texts -> value.value
        // The others hold no text, and a few bytes.
        else -> listOf()
    }

private fun optionValue(name: String, value: Any?): OptionValue =
    when (value) {
        null -> OptionValue.Nothing
        is Boolean -> OptionValue.Flag(value)
        is Byte, is Short, is Int, is Long -> OptionValue.Whole((value as Number).toLong())
        is Float, is Double -> OptionValue.Number((value as Number).toDouble())
        is NamedValue -> OptionValue.Text(value.key)
        is CharSequence -> OptionValue.Text(checked(name, value.toString()))
        is Array<*> -> optionValue(name, value.asList())
        is Collection<*> -> OptionValue.Texts(value.map { text -> checked(name, listed(name, text)) })
        else -> throw wrong(name, value)
    }

private fun listed(name: String, text: Any?): String =
    (text as? CharSequence)?.toString() ?: throw wrong(name, text)

private fun wrong(name: String, value: Any?): MobileBertException {
    val found = value?.javaClass?.name ?: "null in a list"
    val expected = "true or false, a number, a text or a list of texts"
    return MobileBertException("option", "`$name` is a $found; expected $expected", name)
}

internal fun modelInfo(facts: ModelFacts): ModelInfo =
    ModelInfo(
        facts.task,
        facts.labels,
        facts.hiddenSize,
        facts.maxLength,
        facts.threads,
        facts.precision,
        facts.kernel,
    )
