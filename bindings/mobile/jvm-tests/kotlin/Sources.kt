package io.mobilebert.tests

import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.BertQuestionAnswererOptions
import io.mobilebert.ModelSource
import java.io.File
import java.io.FileDescriptor
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel.MapMode.READ_ONLY

private val names = listOf("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")

fun sources(suite: Suite) {
    val expected = BertQuestionAnswerer.createFromFile(qaFolder).use { answer(it) }
    fun gives(source: ModelSource) = BertQuestionAnswerer.create(source).use { same(expected, answer(it)) }

    suite.test("a model opens by a name and by a path") {
        gives(ModelSource.named(qaFolder.path))
        // The environment of this process names the folder of models.
        gives(ModelSource.named("qa"))
        val unknown = fails { BertQuestionAnswerer.create(ModelSource.named("no-such-model")) }
        same("unknown_model" to "no-such-model", unknown.code to unknown.place)
        val nowhere = fails { BertQuestionAnswerer.createFromFile(File("/no/such/folder")) }
        same("unknown_model" to "/no/such/folder", nowhere.code to nowhere.place)
    }
    suite.test("a model opens from mapped buffers") {
        val mapped = names.associateWith { name ->
            RandomAccessFile(qaFolder.resolve(name), "r").use { file ->
                file.channel.map(READ_ONLY, 0, file.length()) as ByteBuffer
            }
        }
        gives(ModelSource.buffers(mapped))
        val defaults = BertQuestionAnswererOptions.DEFAULT
        BertQuestionAnswerer.createFromBufferAndOptions(mapped, defaults).use { same(expected, answer(it)) }
    }
    suite.test("a model opens from arrays and from parts of buffers") {
        val files = ModelSource.files("parts")
        names.forEachIndexed { number, name ->
            val bytes = qaFolder.resolve(name).readBytes()
            val isDirect = number % 2 == 0
            val around = bytes.size + 7
            val buffer = if (isDirect) ByteBuffer.allocateDirect(around) else ByteBuffer.allocate(around)
            buffer.position(3)
            buffer.put(bytes)
            buffer.flip().position(3)
            files.addBuffer(name, buffer)
            same(3, buffer.position(), "position")
            buffer.position(buffer.limit())
        }
        val source = files.build()
        repeat(2) { gives(source) }
        val arrays = ModelSource.files().addBytes("config.json", byteArrayOf())
        val broken = fails { BertQuestionAnswerer.create(arrays.build()) }
        holds(broken.code in setOf("json", "missing_file")) { "$broken" }
    }
    suite.test("a model opens from ranges of an open file") {
        val packed = File.createTempFile("packed", ".bin")
        val offsets = packed.outputStream().use { out ->
            var written = 0L
            names.map { name ->
                out.write(ByteArray(5))
                val bytes = qaFolder.resolve(name).readBytes()
                out.write(bytes)
                (written + 5 to bytes.size.toLong()).also { written += 5 + bytes.size }
            }
        }
        RandomAccessFile(packed, "r").use { file ->
            val descriptor = descriptor(file.fd)
            val files = ModelSource.files("packed")
            names.zip(offsets) { name, (offset, length) ->
                files.addDescriptor(name, descriptor, offset, length)
            }
            holds(offsets.all { it.first % 4096 != 0L }) { "$offsets" }
            gives(files.build())
            val behind = ModelSource.files().addDescriptor("config.json", descriptor, packed.length(), 1)
            val failure = fails { BertQuestionAnswerer.create(behind.build()) }
            same("io" to "config.json", failure.code to failure.place)
            fun code(offset: Long, length: Long): String {
                val odd = ModelSource.files().addDescriptor("config.json", descriptor, offset, length)
                return fails { BertQuestionAnswerer.create(odd.build()) }.code
            }
            same("input", code(-1, 1))
            same("input", code(0, -1))
            same("io", code(Long.MAX_VALUE, Long.MAX_VALUE))
        }
        for (descriptor in listOf(-1, Int.MIN_VALUE, 1_000_000)) {
            val odd = ModelSource.files().addDescriptor("config.json", descriptor, 0, 1)
            same("io", fails { BertQuestionAnswerer.create(odd.build()) }.code)
        }
        packed.delete()
    }
}

private fun answer(qa: BertQuestionAnswerer) = qa.answer("It was built by Ada.", "Who built it?")

/** Returns the number of an open file, which Java keeps to itself. */
fun descriptor(file: FileDescriptor): Int {
    val field = FileDescriptor::class.java.getDeclaredField("fd")
    field.isAccessible = true
    return field.getInt(file)
}
