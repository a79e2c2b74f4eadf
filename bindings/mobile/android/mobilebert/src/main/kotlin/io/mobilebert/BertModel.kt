package io.mobilebert

import io.mobilebert.internal.Loading
import io.mobilebert.internal.Model as NativeModel

/**
 * What a loaded model is.
 *
 * @property task the task that it was trained for, by the name that `transformers` gives it, or null.
 * @property labels the labels of a classifier or tagger.
 * @property hiddenSize the numbers in a hidden state.
 * @property maxLength the longest sequence in tokens.
 * @property threads the most threads that a call runs on.
 * @property precision the form in which it computes: `int8`, `bf16` or `f32`.
 * @property kernel the kernels that were chosen for this processor.
 */
public data class ModelInfo(
    val task: String?,
    val labels: List<String>,
    val hiddenSize: Int,
    val maxLength: Int,
    val threads: Int,
    val precision: String,
    val kernel: String,
)

/**
 * A loaded model that several tasks share, such as answers and embeddings of one checkpoint. The tasks made
 * from it keep its weights alive, so it may be closed before them.
 */
public class BertModel private constructor(private val model: NativeModel) : AutoCloseable {
    private var isClosed = false

    /** Describes the model. */
    public val info: ModelInfo = modelInfo(native { model.facts() })

    /** Uses the native model, which is not closed meanwhile. */
    @Synchronized
    internal fun <T> shared(block: (NativeModel) -> T): T {
        check(!isClosed) { "this BertModel is closed; open it again" }
        return native { block(model) }
    }

    /** Releases the model. The weights go with the last task that uses them. */
    @Synchronized
    override fun close() {
        isClosed = true
        model.close()
    }

    public companion object {
        /** Loads a model. The threads and the precision are those of all its tasks. */
        @JvmStatic
        @JvmOverloads
        public fun open(source: ModelSource, options: ModelOptions = ModelOptions.DEFAULT): BertModel =
            BertModel(source.open { NativeModel.open(it, options.loading(), null) })
    }
}

/** How a model is loaded and run. */
public class ModelOptions private constructor(
    internal val threads: Int?,
    internal val precision: Precision?,
    internal val specialTokensInText: Boolean?,
    internal val delegate: Delegate?,
) {
    internal fun loading() = Loading(threads, precision?.key, specialTokensInText, delegate?.backend)

    /** Collects options. */
    public class Builder internal constructor() {
        private var threads: Int? = null
        private var precision: Precision? = null
        private var specialTokensInText: Boolean? = null
        private var delegate: Delegate? = null

        /**
         * Sets the number of threads for each call. With 1, a call runs on its own thread, and several
         * threads run side by side. Default: one for each processor that the process may use.
         */
        public fun setThreads(threads: Int): Builder = apply { this.threads = threads }

        /** Sets the form in which the model computes. Default: that of the stored weights. */
        public fun setPrecision(precision: Precision): Builder = apply { this.precision = precision }

        /** Says whether `[SEP]` and the like in a text are special tokens. Default: true. */
        public fun setSpecialTokensInText(special: Boolean): Builder = apply { specialTokensInText = special }

        /** Says who computes. Default: [Delegate.NATIVE]. */
        public fun setDelegate(delegate: Delegate): Builder = apply { this.delegate = delegate }

        /** Makes the options. */
        public fun build(): ModelOptions = ModelOptions(threads, precision, specialTokensInText, delegate)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: ModelOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}

/** Who computes: the engine itself, or a backend that a product brings along. */
public class Delegate private constructor(internal val backend: String) {
    public companion object {
        /** The engine's own kernels, on the processor. */
        @JvmField
        public val NATIVE: Delegate = Delegate("native")

        /**
         * A backend that the product's own native library has registered under this name. Opening fails with
         * the code `option` if there is none.
         */
        @JvmStatic
        public fun named(name: String): Delegate = Delegate(checked("backend", name))
    }
}

/** A value of an option that has a name. */
public interface NamedValue {
    /** The name, the same in all languages. */
    public val key: String
}

/** The form in which a model computes. */
public enum class Precision(override val key: String) : NamedValue {
    /** Integers of 8 bits, with the same results on every machine. */
    INT8("int8"),

    /** Floats of 16 bits. */
    BF16("bf16"),

    /** Floats of 32 bits. */
    F32("f32"),
}
