package io.mobilebert

import io.mobilebert.internal.TextClassification as Native

/** A label with its score. */
public data class Category(val label: String, val score: Float)

/**
 * The labels of a text, best first.
 *
 * @property truncated true if the end of the text was not read because it did not fit the model.
 */
public data class Classification(val categories: List<Category>, val truncated: Boolean)

/** Labels texts and pairs of texts. [BertNLClassifier] and [NLClassifier] are the same under two names. */
public abstract class TextClassifier internal constructor(private val pipeline: Native) :
    Task(pipeline, pipeline::facts) {

    /** Labels a text, best label first. The list has more than one if the option `top_k` asks for it. */
    @JvmOverloads
    public fun classify(text: String, call: CallOptions = CallOptions.DEFAULT): List<Category> =
        classification(text, call).categories

    /** Labels a text, and says whether all of it was read. */
    @JvmOverloads
    public fun classification(text: String, call: CallOptions = CallOptions.DEFAULT): Classification =
        labels(listOf(checked("text", text)), null, isList = false, call).single()

    /** Labels a pair of texts, such as a premise and a hypothesis. */
    @JvmOverloads
    public fun classifyPair(
        first: String,
        second: String,
        call: CallOptions = CallOptions.DEFAULT,
    ): Classification {
        val seconds = listOf(checked("second text", second))
        return labels(listOf(checked("text", first)), seconds, isList = false, call).single()
    }

    /** Labels many texts. */
    @JvmOverloads
    public fun classifyAll(
        texts: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<Classification> =
        labels(checkedAll("text", texts, "text"), null, isList = true, call)

    /** Labels many pairs of texts. */
    @JvmOverloads
    public fun classifyPairs(
        first: List<String>,
        second: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<Classification> {
        checkedAll("text", first, "pair")
        return labels(first, checkedAll("second text", second, "pair"), isList = true, call)
    }

    private fun labels(
        texts: List<String>,
        second: List<String>?,
        isList: Boolean,
        call: CallOptions,
    ): List<Classification> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.labels(texts, second, isList, options, timeout, cancellations)
        }
        return found.map { text ->
            Classification(text.labels.map { Category(it.label, it.score) }, text.truncated)
        }
    }
}

/** What is done with a text that is longer than the model reads. */
public enum class LongText(override val key: String) : NamedValue {
    /** Its end is not read. */
    TRUNCATE("truncate"),

    /** It is read in windows, whose scores are averaged. */
    WINDOWS_MEAN("windows-mean"),

    /** It is read in windows, of which the highest score of each label counts. */
    WINDOWS_MAX("windows-max"),

    /** It is an error. */
    REFUSE("refuse"),
}

/** The options of [NLClassifier] and [BertNLClassifier]. */
public class ClassifierOptions private constructor(values: Map<String, Any?>, model: ModelOptions) :
    TaskOptions(values, model) {

    /** Collects options. */
    public class Builder internal constructor() : TaskOptions.Builder<ClassifierOptions, Builder>() {
        /** Sets the largest number of labels. Default: 1. */
        public fun setTopK(topK: Int): Builder = setOption("top_k", topK)

        /** Asks for all labels. */
        public fun setAllLabels(): Builder = setOption("top_k", null)

        /** Sets the lowest score of a label that is reported. */
        public fun setThreshold(score: Float): Builder = setOption("threshold", score)

        /** Sets the only labels to report. Default: all. */
        public fun setLabels(labels: List<String>): Builder = setOption("labels", labels)

        /** Says what is done with long texts. Default: they are cut. */
        public fun setLongText(treatment: LongText): Builder = setOption("long_text", treatment)

        /** Sets the longest sequence in tokens. Default: the limit of the model. */
        public fun setMaxLength(tokens: Int): Builder = setOption("max_seq_len", tokens)

        /** Sets the number of tokens that neighbouring windows of a long text share. Default: 128. */
        public fun setDocStride(tokens: Int): Builder = setOption("doc_stride", tokens)

        internal override fun make(values: Map<String, Any?>, model: ModelOptions): ClassifierOptions =
            ClassifierOptions(values, model)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: ClassifierOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
