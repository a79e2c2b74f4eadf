package io.mobilebert

import io.mobilebert.internal.Disposable
import io.mobilebert.internal.Loading
import io.mobilebert.internal.ModelFacts
import io.mobilebert.internal.NamedOption
import io.mobilebert.internal.Cancellation as NativeCancellation

/**
 * An opened task. Any number of threads may call it at once. It holds its weights outside of the heap until
 * it is closed; an object that nobody holds is closed by a cleaner, some time after a garbage collection.
 */
public abstract class Task internal constructor(private val handle: Disposable, facts: () -> ModelFacts) :
    AutoCloseable {
    @Volatile
    private var isClosed = false

    /** Describes the model. */
    public val info: ModelInfo = modelInfo(native(facts))

    /** Releases the native side once the calls that run now are done. A closed task may be closed again. */
    override fun close() {
        isClosed = true
        handle.destroy()
    }

    /** Makes a call that may be ended. */
    internal fun <T> calling(
        call: CallOptions,
        run: (List<NamedOption>, Long?, List<NativeCancellation>) -> T,
    ): T {
        // The generated object serves new calls for as long as one that began before is running.
        if (isClosed) throw closedError(null)
        val options = namedOptions(call.values)
        val cancellations = call.cancellations.map { it.native }
        val result = native {
            try {
                run(options, call.timeoutMillis, cancellations)
            } catch (closed: IllegalStateException) {
                throw if (isClosed) closedError(closed) else closed
            }
        }
        // The native side owns clones of these handles. The originals have to last until they are cloned, which
        // is at the beginning of the call.
        keepUntilHere(cancellations)
        return result
    }

    private fun closedError(cause: Throwable?) =
        IllegalStateException("this ${javaClass.simpleName} is closed; open it again", cause)
}

/** The options that all tasks have. Each task has a class of its own for the others. */
public abstract class TaskOptions internal constructor(
    internal val values: Map<String, Any?>,
    private val model: ModelOptions,
) {
    internal fun loading(): Loading = model.loading()

    internal fun named(): List<NamedOption> = namedOptions(values)

    /** Collects options. [B] is the builder of a task's own options [O]. */
    public abstract class Builder<O : TaskOptions, B : Builder<O, B>> internal constructor() {
        private val values = LinkedHashMap<String, Any?>()
        private val model = ModelOptions.builder()

        /** Sets the number of threads; see [ModelOptions.Builder.setThreads]. */
        public fun setThreads(threads: Int): B = self { model.setThreads(threads) }

        /** Sets the form in which the model computes. Default: that of the stored weights. */
        public fun setPrecision(precision: Precision): B = self { model.setPrecision(precision) }

        /** Says whether `[SEP]` and the like in a text are special tokens. Default: true. */
        public fun setSpecialTokensInText(special: Boolean): B =
            self { model.setSpecialTokensInText(special) }

        /** Says who computes. Default: [Delegate.NATIVE]. */
        public fun setDelegate(delegate: Delegate): B = self { model.setDelegate(delegate) }

        /** Sets an option by its name; see [CallOptions.Builder.setOption]. */
        public fun setOption(name: String, value: Any?): B = self { values[name] = value }

        /** Makes the options. */
        public fun build(): O = make(LinkedHashMap(values), model.build())

        internal abstract fun make(values: Map<String, Any?>, model: ModelOptions): O

        @Suppress("UNCHECKED_CAST")
        private inline fun self(change: () -> Unit): B {
            change()
            return this as B
        }
    }
}
