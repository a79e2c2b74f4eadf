package io.mobilebert

import java.io.File
import java.nio.ByteBuffer
import io.mobilebert.internal.FillMask as Native

/**
 * A word for a mask.
 *
 * @property sequence the text with the word in the place of the mask.
 * @property token the number of the word in the vocabulary.
 */
public data class FillCandidate(val word: String, val score: Float, val sequence: String, val token: Long)

/** Finds words for masks, with a model for masked language. */
public class FillMask private constructor(private val pipeline: Native) :
    Task(pipeline, pipeline::facts) {

    /** The token that stands for a word to be found, such as `[MASK]`. */
    public val maskToken: String = native { pipeline.maskToken() }

    /** Finds words for each mask of a text, best first. */
    @JvmOverloads
    public fun fill(text: String, call: CallOptions = CallOptions.DEFAULT): List<List<FillCandidate>> =
        fills(listOf(checked("text", text)), isList = false, call).single()

    /** Finds words for each mask of many texts. */
    @JvmOverloads
    public fun fillAll(
        texts: List<String>,
        call: CallOptions = CallOptions.DEFAULT,
    ): List<List<List<FillCandidate>>> = fills(checkedAll("text", texts, "text"), isList = true, call)

    private fun fills(
        texts: List<String>,
        isList: Boolean,
        call: CallOptions,
    ): List<List<List<FillCandidate>>> {
        val found = calling(call) { options, timeout, cancellations ->
            pipeline.fills(texts, isList, options, timeout, cancellations)
        }
        return found.map { masks ->
            masks.map { words -> words.map { FillCandidate(it.word, it.score, it.sequence, it.token) } }
        }
    }

    public companion object {
        /** Opens a model folder. */
        @JvmStatic
        public fun createFromFile(folder: File): FillMask = create(ModelSource.folder(folder))

        /** Opens a model folder with options. */
        @JvmStatic
        public fun createFromFileAndOptions(folder: File, options: FillMaskOptions): FillMask =
            create(ModelSource.folder(folder), options)

        /** Opens a model whose files are in buffers, by name; see [ModelSource.buffers]. */
        @JvmStatic
        public fun createFromBufferAndOptions(
            files: Map<String, ByteBuffer>,
            options: FillMaskOptions,
        ): FillMask =
            create(ModelSource.buffers(files), options)

        /** Opens a model from wherever it is. */
        @JvmStatic
        @JvmOverloads
        public fun create(source: ModelSource, options: FillMaskOptions = FillMaskOptions.DEFAULT): FillMask =
            FillMask(source.open { Native.open(it, options.loading(), options.named()) })

        /** Uses a model that is loaded. Options of loading do not apply. */
        @JvmStatic
        @JvmOverloads
        public fun createFromModel(
            model: BertModel,
            options: FillMaskOptions = FillMaskOptions.DEFAULT,
        ): FillMask =
            FillMask(model.shared { Native.ofModel(it, options.named()) })
    }
}

/** The options of [FillMask]. */
public class FillMaskOptions private constructor(values: Map<String, Any?>, model: ModelOptions) :
    TaskOptions(values, model) {

    /** Collects options. */
    public class Builder internal constructor() : TaskOptions.Builder<FillMaskOptions, Builder>() {
        /** Sets the number of words for each mask. Default: 5. */
        public fun setTopK(topK: Int): Builder = setOption("top_k", topK)

        /** Sets the only words to rank. Default: the whole vocabulary. */
        public fun setTargets(words: List<String>): Builder = setOption("targets", words)

        internal override fun make(values: Map<String, Any?>, model: ModelOptions): FillMaskOptions =
            FillMaskOptions(values, model)
    }

    public companion object {
        /** The defaults. */
        @JvmField
        public val DEFAULT: FillMaskOptions = Builder().build()

        /** Begins with the defaults. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
