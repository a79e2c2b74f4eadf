package io.mobilebert

import java.io.File
import java.nio.ByteBuffer
import io.mobilebert.internal.TokenClassification as Native

/**
 * A labelled piece of a text, such that `text.substring(start, end) == word`.
 *
 * @property label the label, without a mark such as `B-` if tokens were joined.
 * @property isGrouped true if tokens were joined.
 * @property score the mean score of its parts.
 */
public data class Entity(
    val label: String,
    val word: String,
    val start: Int,
    val end: Int,
    val score: Float,
    val isGrouped: Boolean,
)

/** Finds names and other labelled pieces of texts of any length, with a model for token classification. */
public class NerTagger private constructor(private val pipeline: Native) :
    Task(pipeline, pipeline::facts) {

    /** Finds the entities of a text, in its order. */
    @JvmOverloads
    public fun tag(text: String, call: CallOptions = CallOptions.DEFAULT): List<Entity> =
        entities(listOf(checked("text", text)), isList = false, call).single()

    /** Finds the entities of many texts. */
    @JvmOverloads
    public fun tagAll(texts: List<String>, call: CallOptions = CallOptions.DEFAULT): List<List<Entity>> =
        entities(checkedAll("text", texts, "text"), isList = true, call)

    private fun entities(texts: List<String>, isList: Boolean, call: CallOptions): List<List<Entity>> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.entities(texts, isList, options, timeout, cancellations)
        }
        return found.map { entities ->
            entities.map { Entity(it.label, it.word, it.place.start, it.place.end, it.score, it.grouped) }
        }
    }

    public companion object {
        /** Opens a model folder. */
        @JvmStatic
        public fun createFromFile(folder: File): NerTagger = create(ModelSource.folder(folder))

        /** Opens a model folder with options. */
        @JvmStatic
        public fun createFromFileAndOptions(folder: File, options: NerTaggerOptions): NerTagger =
            create(ModelSource.folder(folder), options)

        /** Opens a model whose files are in buffers, by name; see [ModelSource.buffers]. */
        @JvmStatic
        public fun createFromBufferAndOptions(
            files: Map<String, ByteBuffer>,
            options: NerTaggerOptions,
        ): NerTagger =
            create(ModelSource.buffers(files), options)

        /** Opens a model from wherever it is. */
        @JvmStatic
        @JvmOverloads
        public fun create(
            source: ModelSource,
            options: NerTaggerOptions = NerTaggerOptions.DEFAULT,
        ): NerTagger =
            NerTagger(source.open { Native.open(it, options.loading(), options.named()) })

        /** Uses a model that is loaded. Options of loading do not apply. */
        @JvmStatic
        @JvmOverloads
        public fun createFromModel(
            model: BertModel,
            options: NerTaggerOptions = NerTaggerOptions.DEFAULT,
        ): NerTagger =
            NerTagger(model.shared { Native.ofModel(it, options.named()) })
    }
}

/** The way in which the labels of tokens become entities. */
public enum class Aggregation(override val key: String) : NamedValue {
    /** Each token is an entity of its own. */
    NONE("none"),

    /** Neighbouring tokens of one label are joined. */
    SIMPLE("simple"),

    /** As [SIMPLE], and a word has the label of its first token. */
    FIRST("first"),

    /** As [SIMPLE], and the scores of a word's tokens are averaged. */
    AVERAGE("average"),

    /** As [SIMPLE], and a word has the label of its most certain token. */
    MAX("max"),
}

/** The options of [NerTagger]. */
public class NerTaggerOptions private constructor(values: Map<String, Any?>, model: ModelOptions) :
    TaskOptions(values, model) {

    /** Collects options. */
    public class Builder internal constructor() : TaskOptions.Builder<NerTaggerOptions, Builder>() {
        /** Says how tokens are joined. Default: [Aggregation.SIMPLE]. */
        public fun setAggregation(aggregation: Aggregation): Builder =
            setOption("aggregation_strategy", aggregation)

        /** Sets the labels that are left out. Default: `O`. */
        public fun setIgnoredLabels(labels: List<String>): Builder = setOption("ignore_labels", labels)

        /** Sets the longest sequence in tokens. Default: the limit of the model. */
        public fun setMaxLength(tokens: Int): Builder = setOption("max_seq_len", tokens)

        /** Sets the number of tokens that neighbouring windows of a long text share. Default: 128. */
        public fun setDocStride(tokens: Int): Builder = setOption("doc_stride", tokens)

        internal override fun make(values: Map<String, Any?>, model: ModelOptions): NerTaggerOptions =
            NerTaggerOptions(values, model)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: NerTaggerOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
