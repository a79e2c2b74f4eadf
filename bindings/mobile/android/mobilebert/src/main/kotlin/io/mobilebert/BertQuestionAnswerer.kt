package io.mobilebert

import java.io.File
import java.nio.ByteBuffer
import io.mobilebert.internal.Answer as NativeAnswer
import io.mobilebert.internal.QuestionAnswering as Native

/**
 * An answer: a piece of its context, such that `context.substring(start, end) == text`. The answer "the
 * context does not say", which the option `handle_impossible_answer` allows, has an empty text.
 *
 * @property score how likely it is, from 0 to 1.
 * @property others the other places with the same text, best first, with their parts of the score.
 */
public data class QaAnswer(
    val text: String,
    val start: Int,
    val end: Int,
    val score: Float,
    val others: List<OtherPlace>,
)

/** Another place of an answer's text, with its part of the score. */
public data class OtherPlace(val start: Int, val end: Int, val score: Float)

/**
 * The answers in the part of a context that was read.
 *
 * @property answers the best answers in the windows that were read, best first. Their scores are shares among
 *   these windows.
 * @property windows the number of windows of the context.
 * @property windowsRead the number of windows that were read.
 * @property unread the parts of the context that no window that was read holds, in their order.
 */
public data class AnswersWithin(
    val answers: List<QaAnswer>,
    val windows: Int,
    val windowsRead: Int,
    val unread: List<UnreadPart>,
)

/** A part of a context that was not read: `context.substring(start, end)`. */
public data class UnreadPart(val start: Int, val end: Int)

/**
 * Finds answers to questions in contexts of any length.
 *
 * ```
 * BertQuestionAnswerer.createFromFile(File("models/qa")).use { qa ->
 *     println(qa.answer("It was built by Ada.", "Who built it?").first().text)
 * }
 * ```
 */
public class BertQuestionAnswerer private constructor(private val pipeline: Native) :
    Task(pipeline, pipeline::facts) {

    /**
     * Answers a question, best answer first. The list has more than one if the option `top_k` asks for it.
     */
    @JvmOverloads
    public fun answer(
        context: String,
        question: String,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<QaAnswer> {
        val questions = listOf(checked("question", question))
        val contexts = listOf(checked("context", context))
        return answers(contexts, questions, isOne = false, isList = false, call).single()
    }

    /** Answers many questions about one context, which is tokenised once. */
    @JvmOverloads
    public fun answerAll(
        context: String,
        questions: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<List<QaAnswer>> {
        val contexts = listOf(checked("context", context))
        checkedAll("question", questions, "question")
        return answers(contexts, questions, isOne = true, isList = true, call)
    }

    /** Answers each question about the context at the same index. */
    @JvmOverloads
    public fun answerPairs(
        contexts: List<String>,
        questions: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<List<QaAnswer>> {
        checkedAll("context", contexts, "pair")
        checkedAll("question", questions, "pair")
        return answers(contexts, questions, isOne = false, isList = true, call)
    }

    /**
     * Answers a question without reading the whole context, and says what was left unread. The windows of the
     * context that have most words in common with the question are read first.
     *
     * It reads [mostWindows] windows, or all if that is null, which gives the same result on every machine. The
     * time of [call] ends the search with what was found by then; it is the error `deadline_exceeded` only if it
     * is over before the first pass. If all windows are read, the answers are those of [answer].
     */
    @JvmOverloads
    public fun answersWithin(
        context: String,
        question: String,
        mostWindows: Int? = null,
        call: CallOptions = CallOptions.DEFAULT,
    ): AnswersWithin {
        checked("question", question)
        checked("context", context)
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.answersWithin(question, context, mostWindows, options, timeout, cancellations)
        }
        val unread = found.unread.map { UnreadPart(it.start, it.end) }
        return AnswersWithin(found.answers.map(::qaAnswer), found.windows, found.windowsRead, unread)
    }

    private fun answers(
        contexts: List<String>,
        questions: List<String>,
        isOne: Boolean,
        isList: Boolean,
        call: CallOptions,
    ): List<List<QaAnswer>> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.answers(questions, contexts, isOne, isList, options, timeout, cancellations)
        }
        return found.map { answers -> answers.map(::qaAnswer) }
    }

    public companion object {
        /** Opens a model folder. */
        @JvmStatic
        public fun createFromFile(folder: File): BertQuestionAnswerer = create(ModelSource.folder(folder))

        /** Opens a model folder with options. */
        @JvmStatic
        public fun createFromFileAndOptions(
            folder: File,
            options: BertQuestionAnswererOptions,
        ): BertQuestionAnswerer = create(ModelSource.folder(folder), options)

        /** Opens a model whose files are in buffers, by name; see [ModelSource.buffers]. */
        @JvmStatic
        public fun createFromBufferAndOptions(
            files: Map<String, ByteBuffer>,
            options: BertQuestionAnswererOptions,
        ): BertQuestionAnswerer = create(ModelSource.buffers(files), options)

        /** Opens a model from wherever it is. */
        @JvmStatic
        @JvmOverloads
        public fun create(
            source: ModelSource,
            options: BertQuestionAnswererOptions = BertQuestionAnswererOptions.DEFAULT,
        ): BertQuestionAnswerer =
            BertQuestionAnswerer(source.open { Native.open(it, options.loading(), options.named()) })

        /** Uses a model that is loaded. Options of loading do not apply. */
        @JvmStatic
        @JvmOverloads
        public fun createFromModel(
            model: BertModel,
            options: BertQuestionAnswererOptions = BertQuestionAnswererOptions.DEFAULT,
        ): BertQuestionAnswerer = BertQuestionAnswerer(model.shared { Native.ofModel(it, options.named()) })
    }
}

private fun qaAnswer(found: NativeAnswer): QaAnswer {
    val others = found.others.map { OtherPlace(it.place.start, it.place.end, it.score) }
    return QaAnswer(found.answer, found.place.start, found.place.end, found.score, others)
}

/** The options of [BertQuestionAnswerer]. */
public class BertQuestionAnswererOptions private constructor(values: Map<String, Any?>, model: ModelOptions) :
    TaskOptions(values, model) {

    /** Collects options. */
    public class Builder internal constructor() :
        TaskOptions.Builder<BertQuestionAnswererOptions, Builder>() {

        /** Sets the largest number of answers. Default: 1. */
        public fun setTopK(topK: Int): Builder = setOption("top_k", topK)

        /** Sets the longest sequence of question and window of the context, in tokens. Default: 384. */
        public fun setMaxLength(tokens: Int): Builder = setOption("max_seq_len", tokens)

        /** Sets the number of tokens that neighbouring windows of a long context share. Default: 128. */
        public fun setDocStride(tokens: Int): Builder = setOption("doc_stride", tokens)

        /** Sets the longest question in tokens. A longer one is an error. Default: 64. */
        public fun setMaxQuestionLength(tokens: Int): Builder = setOption("max_question_len", tokens)

        /** Sets the longest answer in tokens. Default: 30. */
        public fun setMaxAnswerLength(tokens: Int): Builder = setOption("max_answer_len", tokens)

        /**
         * Says whether "the context does not say" may be an answer, which is an empty one. Default: false.
         */
        public fun setHandleImpossibleAnswer(handle: Boolean): Builder =
            setOption("handle_impossible_answer", handle)

        internal override fun make(
            values: Map<String, Any?>,
            model: ModelOptions,
        ): BertQuestionAnswererOptions =
            BertQuestionAnswererOptions(values, model)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: BertQuestionAnswererOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
