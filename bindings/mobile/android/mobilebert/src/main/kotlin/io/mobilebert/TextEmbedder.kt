package io.mobilebert

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.sqrt
import io.mobilebert.internal.Embedder as Native

/**
 * The vector of a text.
 *
 * @property truncated true if the end of the text was not read because it did not fit the model.
 */
public class Embedding internal constructor(public val values: FloatArray, public val truncated: Boolean)

/**
 * The hidden states of a text: a row for each token, special tokens included.
 *
 * @property truncated true if the end of the text was not read because it did not fit the model.
 */
public class TokenStates internal constructor(
    public val rows: List<FloatArray>,
    public val truncated: Boolean,
)

/** Turns texts into vectors that are close to each other if the texts mean the same. */
public class TextEmbedder private constructor(private val pipeline: Native) :
    Task(pipeline, pipeline::facts) {

    /** The numbers in a vector. */
    public val dimensions: Int = native { pipeline.dimensions() }

    /** Computes the vector of a text. */
    @JvmOverloads
    public fun embed(text: String, call: CallOptions = CallOptions.DEFAULT): Embedding =
        vectors(listOf(checked("text", text)), isList = false, call).single()

    /** Computes the vectors of many texts. */
    @JvmOverloads
    public fun embedAll(texts: List<String>, call: CallOptions = CallOptions.DEFAULT): List<Embedding> =
        vectors(checkedAll("text", texts, "text"), isList = true, call)

    /** Computes the hidden states of a text. */
    @JvmOverloads
    public fun tokenStates(text: String, call: CallOptions = CallOptions.DEFAULT): TokenStates =
        states(listOf(checked("text", text)), isList = false, call).single()

    /** Computes the hidden states of many texts. */
    @JvmOverloads
    public fun tokenStatesAll(
        texts: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<TokenStates> =
        states(checkedAll("text", texts, "text"), isList = true, call)

    private fun vectors(texts: List<String>, isList: Boolean, call: CallOptions): List<Embedding> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.vectors(texts, isList, options, timeout, cancellations)
        }
        return rows(found.values, found.columns).zip(found.truncated, ::Embedding)
    }

    private fun states(texts: List<String>, isList: Boolean, call: CallOptions): List<TokenStates> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.states(texts, isList, options, timeout, cancellations)
        }
        return found.map { TokenStates(rows(it.values, it.columns), it.truncated) }
    }

    private fun rows(values: ByteArray, columns: Int): List<FloatArray> {
        val numbers = ByteBuffer.wrap(values).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        val count = if (columns == 0) 0 else numbers.remaining() / columns
        return List(count) { FloatArray(columns).also { numbers.get(it) } }
    }

    public companion object {
        /** Opens a model folder. */
        @JvmStatic
        public fun createFromFile(folder: File): TextEmbedder = create(ModelSource.folder(folder))

        /** Opens a model folder with options. */
        @JvmStatic
        public fun createFromFileAndOptions(folder: File, options: TextEmbedderOptions): TextEmbedder =
            create(ModelSource.folder(folder), options)

        /** Opens a model whose files are in buffers, by name; see [ModelSource.buffers]. */
        @JvmStatic
        public fun createFromBufferAndOptions(
            files: Map<String, ByteBuffer>,
            options: TextEmbedderOptions,
        ): TextEmbedder =
            create(ModelSource.buffers(files), options)

        /** Opens a model from wherever it is. */
        @JvmStatic
        @JvmOverloads
        public fun create(
            source: ModelSource,
            options: TextEmbedderOptions = TextEmbedderOptions.DEFAULT,
        ): TextEmbedder =
            TextEmbedder(source.open { Native.open(it, options.loading(), options.named()) })

        /** Uses a model that is loaded. Options of loading do not apply. */
        @JvmStatic
        @JvmOverloads
        public fun createFromModel(
            model: BertModel,
            options: TextEmbedderOptions = TextEmbedderOptions.DEFAULT,
        ): TextEmbedder =
            TextEmbedder(model.shared { Native.ofModel(it, options.named()) })

        /** Returns the cosine of two vectors of one length, from -1 to 1, and 0 if one of them is zero. */
        @JvmStatic
        public fun cosineSimilarity(first: Embedding, second: Embedding): Double {
            val (a, b) = first.values to second.values
            require(a.size == b.size) {
                "the vectors have ${a.size} and ${b.size} numbers; pass two of one model"
            }
            var (product, lengthA, lengthB) = Triple(0.0, 0.0, 0.0)
            for (index in a.indices) {
                product += a[index].toDouble() * b[index]
                lengthA += a[index].toDouble() * a[index]
                lengthB += b[index].toDouble() * b[index]
            }
            val lengths = sqrt(lengthA) * sqrt(lengthB)
            return if (lengths == 0.0) 0.0 else product / lengths
        }
    }
}

/** The way in which the hidden states of tokens become one vector. */
public enum class Pooling(override val key: String) : NamedValue {
    /** Their mean. */
    MEAN("mean"),

    /** The state of the first token. */
    CLS("cls"),

    /** The largest of each number. */
    MAX("max"),

    /** Their sum, divided by the root of their number. */
    MEAN_SQRT_LEN("mean_sqrt_len"),

    /** Their mean, in which later tokens weigh more. */
    WEIGHTED_MEAN("weighted_mean"),

    /** The state of the last token. */
    LAST_TOKEN("last_token"),
}

/** The options of [TextEmbedder]. */
public class TextEmbedderOptions private constructor(values: Map<String, Any?>, model: ModelOptions) :
    TaskOptions(values, model) {

    /** Collects options. */
    public class Builder internal constructor() : TaskOptions.Builder<TextEmbedderOptions, Builder>() {
        /** Says how states become a vector. Default: what the model says, or their mean. */
        public fun setPooling(pooling: Pooling): Builder = setOption("pooling", pooling)

        /** Says whether vectors are scaled to length 1. Default: what the model says, or true. */
        public fun setL2Normalize(normalize: Boolean): Builder = setOption("normalize", normalize)

        /** Sets the longest sequence in tokens. Default: the limit of the model. */
        public fun setMaxLength(tokens: Int): Builder = setOption("max_seq_len", tokens)

        internal override fun make(values: Map<String, Any?>, model: ModelOptions): TextEmbedderOptions =
            TextEmbedderOptions(values, model)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: TextEmbedderOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
