package io.mobilebert.tests

import android.content.Context
import android.content.res.AssetManager
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.MobileBertException
import io.mobilebert.TextEmbedder
import io.mobilebert.android.assetModel
import io.mobilebert.android.createFromFile
import java.io.File
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

// The assets of an app, on stand-ins for Android's classes that read an archive as Android packs one: the
// descriptor, the offset and the length that `openFd` gives are real, and so is all below.

fun assets(suite: Suite) {
    val stored = archive { name -> !name.endsWith(".safetensors") }
    suite.test("a model opens from the assets of an app") {
        val context = Context(AssetManager(stored))
        BertQuestionAnswerer.createFromFile(context, "models/qa").use { qa ->
            val expected = BertQuestionAnswerer.createFromFile(qaFolder).use(::ask)
            same(expected, ask(qa))
        }
        // This model has a file in a folder of its own, which says how states become a vector.
        TextEmbedder.createFromFile(context, "models/embed").use { embedder ->
            TextEmbedder.createFromFile(root.resolve("models/embed")).use { expected ->
                same(expected.embed("a cat").values.toList(), embedder.embed("a cat").values.toList())
            }
        }
        same(0, AssetManager.openFiles(), "descriptors that are still open")
    }
    suite.test("a compressed asset is an error that says what to do") {
        val packed = archive { true }
        val source = assetModel(Context(AssetManager(packed)), "models/qa")
        val failure = fails { BertQuestionAnswerer.create(source) }
        same("input" to "models/qa/model.safetensors", failure.code to failure.place)
        holds("noCompress += \"safetensors\"" in failure.message) { failure.message }
        packed.delete()
    }
    suite.test("assets without a model are an error") {
        val context = Context(AssetManager(stored))
        val failure = fails { BertQuestionAnswerer.createFromFile(context, "models/none") }
        same("unknown_model" to "models/none", failure.code to failure.place)
        same(MobileBertException::class.java, failure.javaClass)
    }
    stored.delete()
}

private fun ask(qa: BertQuestionAnswerer) = qa.answer("It was built by Ada.", "Who built it?")

/** Packs two models as an app's package does. */
private fun archive(isCompressed: (String) -> Boolean): File {
    val file = File.createTempFile("app", ".apk")
    ZipOutputStream(file.outputStream()).use { zip ->
        for (model in listOf("qa", "embed")) {
            val folder = root.resolve("models/$model")
            folder.walk().filter { it.isFile }.forEach { source ->
                val bytes = source.readBytes()
                val name = source.relativeTo(folder).invariantSeparatorsPath
                val entry = ZipEntry("assets/models/$model/$name")
                if (!isCompressed(entry.name)) {
                    entry.method = ZipEntry.STORED
                    entry.size = bytes.size.toLong()
                    entry.crc = CRC32().apply { update(bytes) }.value
                }
                zip.putNextEntry(entry)
                zip.write(bytes)
                zip.closeEntry()
            }
        }
    }
    return file
}
