package io.mobilebert

import java.io.File
import java.nio.Buffer
import java.nio.ByteBuffer
import io.mobilebert.internal.ModelSource as NativeSource

/**
 * The place to find a model. Nothing is read before a task is opened, and a source may open any number of
 * them.
 */
public abstract class ModelSource internal constructor() {
    /** Makes the native source. The caller closes it. */
    internal abstract fun create(): NativeSource

    /** Uses the native source. */
    internal fun <T> open(block: (NativeSource) -> T): T = native { create().use(block) }

    /** The files of a model that is not in a folder, under the names that they would have in one. */
    public class Files internal constructor(private val label: String) {
        private val added = ArrayList<(NativeSource) -> Unit>()

        /**
         * Adds the bytes from the buffer's position to its limit. A mapped file
         * ([java.nio.channels.FileChannel.map]) or another direct buffer is copied once while a task opens,
         * and a buffer on the heap twice. The bytes must not change until then; the position may.
         */
        public fun addBuffer(name: String, buffer: ByteBuffer): Files = apply {
            // The buffer's position may move before a task opens.
            val part = buffer.slice()
            added += { source -> add(source, name, part) }
        }

        /** Adds the bytes of an array. */
        public fun addBytes(name: String, bytes: ByteArray): Files = addBuffer(name, ByteBuffer.wrap(bytes))

        /**
         * Adds the bytes of an open file from [offset] on. They are mapped and not copied. The [descriptor]
         * has to be open until a task has been opened, and stays the caller's to close. The file must not be
         * made shorter or written to as long as a model is opened from it or open: the system ends a process
         * that reads what is gone (SIGBUS), which nothing here can catch.
         *
         * Opening fails with the code `io` if the descriptor is not open or the file ends before the range
         * does, and with `input` if [offset] or [length] is negative.
         */
        public fun addDescriptor(name: String, descriptor: Int, offset: Long, length: Long): Files = apply {
            added += { source -> source.addRange(checked("file", name), descriptor, offset, length) }
        }

        /** Makes the source. */
        public fun build(): ModelSource {
            val steps = ArrayList(added)
            return Made { filled(NativeSource.files(checked("model", label)), steps) }
        }
    }

    private class Made(private val make: () -> NativeSource) : ModelSource() {
        override fun create(): NativeSource = make()
    }

    public companion object {
        /**
         * Names a model: `qa`, `sentiment`, `ner` or `embed`, the path of a model folder, or the id of a model in the
         * local Hugging Face cache. A built-in name is looked for in the folders that the environment variable
         * `MOBILEBERT_MODELS` lists.
         */
        @JvmStatic
        public fun named(name: String): ModelSource = Made { NativeSource.named(checked("model", name)) }

        /** Names a model folder, which holds `config.json`, the vocabulary and the weights. */
        @JvmStatic
        public fun folder(folder: File): ModelSource =
            Made { NativeSource.folder(checked("path", folder.path)) }

        /** Begins a model whose files are added one by one. Error messages call it by [label]. */
        @JvmStatic
        @JvmOverloads
        public fun files(label: String = "model in memory"): Files = Files(label)

        /** Takes the files of a model from buffers, by name. See [Files.addBuffer]. */
        @JvmStatic
        public fun buffers(files: Map<String, ByteBuffer>): ModelSource {
            val all = files()
            files.forEach { (name, buffer) -> all.addBuffer(name, buffer) }
            return all.build()
        }

        internal fun filled(source: NativeSource, steps: List<(NativeSource) -> Unit>): NativeSource {
            var isFilled = false
            try {
                steps.forEach { step -> step(source) }
                isFilled = true
                return source
            } finally {
                if (!isFilled) source.close()
            }
        }

        /** Adds the bytes between a buffer's position and limit, which the native source copies. */
        internal fun add(source: NativeSource, name: String, buffer: ByteBuffer) {
            val bytes = direct(buffer)
            source.addBytes(checked("file", name), bytes)
            // The native side knows the address of the bytes, which end with the buffer.
            keepUntilHere(bytes)
        }

        /** Returns the bytes between position and limit as a direct buffer that begins with them. */
        private fun direct(buffer: ByteBuffer): ByteBuffer {
            // The native side sees where a buffer begins, and not its position.
            val part = buffer.slice()
            if (part.isDirect) return part
            val copy = ByteBuffer.allocateDirect(part.remaining())
            copy.put(part)
            // Android before 14 has this method in `Buffer` only.
            (copy as Buffer).flip()
            return copy
        }
    }
}
