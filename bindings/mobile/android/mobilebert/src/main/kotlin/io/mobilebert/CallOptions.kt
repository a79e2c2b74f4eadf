package io.mobilebert

import java.util.concurrent.TimeUnit
import io.mobilebert.internal.Cancellation as NativeCancellation

/**
 * Ends calls from another thread. A call that was given this object ends with the code `cancelled` before its
 * next pass. One object may serve many calls.
 */
public class Cancellation {
    internal val native = NativeCancellation()

    /** True once it is cancelled. */
    public val isCancelled: Boolean get() = native.isCancelled()

    /** Ends the calls. It may be called from any thread, and more than once. */
    public fun cancel(): Unit = native.cancel()
}

/** What one call may change: options of its task, its time, and who may end it. */
public class CallOptions private constructor(
    internal val values: Map<String, Any?>,
    internal val timeoutMillis: Long?,
    internal val cancellations: List<Cancellation>,
) {
    /** Makes the same options with one more object that ends the call. */
    internal fun endedBy(cancellation: Cancellation) =
        CallOptions(values, timeoutMillis, cancellations + cancellation)

    /** Collects options. */
    public class Builder internal constructor() {
        private val values = LinkedHashMap<String, Any?>()
        private var timeoutMillis: Long? = null
        private val cancellations = ArrayList<Cancellation>()

        /**
         * Sets the time for the call. No pass begins after it, and the call fails with `deadline_exceeded`,
         * except that [BertQuestionAnswerer.answersWithin] returns what it has found. With 0 no pass begins at
         * all. A part of a millisecond counts as a whole one.
         */
        public fun setTimeout(time: Long, unit: TimeUnit): Builder =
            apply { timeoutMillis = roundedUp(time, unit) }

        /** Sets an object that ends the call. */
        public fun setCancellation(cancellation: Cancellation): Builder =
            apply { cancellations += cancellation }

        /** Sets the largest number of results. */
        public fun setTopK(topK: Int): Builder = setOption("top_k", topK)

        /**
         * Sets an option of the task by its name, as all languages have it (docs/python.md lists them). The
         * value is a boolean, a finite number, a text, a list of texts, or null for "all" or the default.
         */
        public fun setOption(name: String, value: Any?): Builder = apply { values[name] = value }

        /** Makes the options. */
        public fun build(): CallOptions =
            CallOptions(LinkedHashMap(values), timeoutMillis, ArrayList(cancellations))

        /** Returns a time in milliseconds, away from 0, so that a negative one stays negative. */
        private fun roundedUp(time: Long, unit: TimeUnit): Long {
            val millis = unit.toMillis(time)
            return when {
                // A time that does not fit is the largest or the smallest number.
                unit >= TimeUnit.MILLISECONDS || unit.convert(millis, TimeUnit.MILLISECONDS) == time -> millis
                time > 0 -> millis + 1
                else -> millis - 1
            }
        }
    }

    public companion object {
        /** A call with the options that its task was opened with. */
        @JvmField
        public val DEFAULT: CallOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
