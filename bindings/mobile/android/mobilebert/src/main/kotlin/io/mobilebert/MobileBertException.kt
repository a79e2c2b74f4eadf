package io.mobilebert

/**
 * An error of the engine: a model that cannot be opened, a text that cannot be read, an option out of range.
 *
 * @property code the stable name of the kind of error, such as `empty_text`, `unknown_model` or `cancelled`.
 *   [codes] lists all.
 * @property message what happened, where, what was expected and what to do.
 * @property place where it happened: an option's name, a file, or "text 3: question".
 * @property index the index in the list of inputs, from 0, if one of them is at fault.
 * @property position the position in the text, as an index of the string, if one character is at fault.
 */
public class MobileBertException internal constructor(
    public val code: String,
    override val message: String,
    public val place: String? = null,
    public val index: Int? = null,
    public val position: Int? = null,
    cause: Throwable? = null,
) : RuntimeException(message, cause) {

    public companion object {
        private const val serialVersionUID: Long = 1

        /** A failure that is a bug of the engine. The object that was called can still be used. */
        public const val PANIC: String = "panic"

        /** Lists the codes that an exception may have. */
        @JvmStatic
        public fun codes(): List<String> = io.mobilebert.internal.errorCodes() + PANIC
    }
}
