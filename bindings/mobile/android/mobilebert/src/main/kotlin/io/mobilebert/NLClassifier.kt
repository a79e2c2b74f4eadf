package io.mobilebert

import java.io.File
import java.nio.ByteBuffer
import io.mobilebert.internal.TextClassification as Native

/** Labels texts with a model for text classification. */
public class NLClassifier private constructor(pipeline: Native) : TextClassifier(pipeline) {
    public companion object {
        /** Opens a model folder. */
        @JvmStatic
        public fun createFromFile(folder: File): NLClassifier = create(ModelSource.folder(folder))

        /** Opens a model folder with options. */
        @JvmStatic
        public fun createFromFileAndOptions(folder: File, options: ClassifierOptions): NLClassifier =
            create(ModelSource.folder(folder), options)

        /** Opens a model whose files are in buffers, by name; see [ModelSource.buffers]. */
        @JvmStatic
        public fun createFromBufferAndOptions(
            files: Map<String, ByteBuffer>,
            options: ClassifierOptions,
        ): NLClassifier =
            create(ModelSource.buffers(files), options)

        /** Opens a model from wherever it is. */
        @JvmStatic
        @JvmOverloads
        public fun create(
            source: ModelSource,
            options: ClassifierOptions = ClassifierOptions.DEFAULT,
        ): NLClassifier =
            NLClassifier(source.open { Native.open(it, options.loading(), options.named()) })

        /** Uses a model that is loaded. Options of loading do not apply. */
        @JvmStatic
        @JvmOverloads
        public fun createFromModel(
            model: BertModel,
            options: ClassifierOptions = ClassifierOptions.DEFAULT,
        ): NLClassifier =
            NLClassifier(model.shared { Native.ofModel(it, options.named()) })
    }
}
