@file:JvmName("Assets")

package io.mobilebert.android

import android.content.Context
import android.content.res.AssetManager
import io.mobilebert.BertNLClassifier
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.ClassifierOptions
import io.mobilebert.BertQuestionAnswererOptions
import io.mobilebert.FillMask
import io.mobilebert.FillMaskOptions
import io.mobilebert.MobileBertException
import io.mobilebert.ModelSource
import io.mobilebert.NLClassifier
import io.mobilebert.NerTagger
import io.mobilebert.NerTaggerOptions
import io.mobilebert.TextEmbedder
import io.mobilebert.TextEmbedderOptions
import io.mobilebert.internal.ModelSource as NativeSource
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer

// Models in the assets of an app. All that needs classes of Android is in this package.

/**
 * Names a model in a folder of the app's assets. The weights are mapped where they lie in the package, so
 * they must be stored there without compression: `androidResources { noCompress += "safetensors" }`.
 */
public fun assetModel(context: Context, folder: String): ModelSource = AssetModel(context.assets, folder)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun BertQuestionAnswerer.Companion.createFromFile(
    context: Context,
    folder: String,
    options: BertQuestionAnswererOptions = BertQuestionAnswererOptions.DEFAULT,
): BertQuestionAnswerer = create(assetModel(context, folder), options)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun BertNLClassifier.Companion.createFromFile(
    context: Context,
    folder: String,
    options: ClassifierOptions = ClassifierOptions.DEFAULT,
): BertNLClassifier = create(assetModel(context, folder), options)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun NLClassifier.Companion.createFromFile(
    context: Context,
    folder: String,
    options: ClassifierOptions = ClassifierOptions.DEFAULT,
): NLClassifier = create(assetModel(context, folder), options)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun NerTagger.Companion.createFromFile(
    context: Context,
    folder: String,
    options: NerTaggerOptions = NerTaggerOptions.DEFAULT,
): NerTagger = create(assetModel(context, folder), options)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun TextEmbedder.Companion.createFromFile(
    context: Context,
    folder: String,
    options: TextEmbedderOptions = TextEmbedderOptions.DEFAULT,
): TextEmbedder = create(assetModel(context, folder), options)

/** Opens a model in a folder of the app's assets; see [assetModel]. */
@JvmSynthetic
public fun FillMask.Companion.createFromFile(
    context: Context,
    folder: String,
    options: FillMaskOptions = FillMaskOptions.DEFAULT,
): FillMask = create(assetModel(context, folder), options)

private class AssetModel(private val assets: AssetManager, private val folder: String) : ModelSource() {
    override fun create(): NativeSource {
        val names = filesBelow("")
        if ("config.json" !in names) {
            val problem = "there is no model in the assets at `$folder`; expected a folder with config.json"
            throw MobileBertException("unknown_model", problem, folder)
        }
        val steps = names.map { name -> { source: NativeSource -> addAsset(source, name) } }
        return filled(NativeSource.files("assets/$folder"), steps)
    }

    /** Lists the files of the model below a folder, with their paths in it. */
    private fun filesBelow(below: String): List<String> {
        val path = if (below.isEmpty()) folder else "$folder/$below"
        val entries = try {
            assets.list(path).orEmpty()
        } catch (error: IOException) {
            throw failed(path, error)
        }
        return entries.flatMap { entry ->
            val name = if (below.isEmpty()) entry else "$below/$entry"
            when {
                entry.endsWith(".json") || entry.endsWith(".txt") || isWeights(entry) -> listOf(name)
                // Assets do not say which are folders. Those of a model, such as `1_Pooling`, have no dot.
                '.' !in entry -> filesBelow(name)
                else -> emptyList()
            }
        }
    }

    private fun isWeights(name: String) = name.endsWith(".safetensors") || name.endsWith(".bin")

    private fun addAsset(source: NativeSource, name: String) {
        val path = "$folder/$name"
        try {
            if (isWeights(name)) {
                assets.openFd(path).use { asset ->
                    source.addRange(name, asset.parcelFileDescriptor.fd, asset.startOffset, asset.length)
                }
            } else {
                // These are small, and Android compresses them unless it is told otherwise.
                add(source, name, ByteBuffer.wrap(assets.open(path).use { it.readBytes() }))
            }
        } catch (error: FileNotFoundException) {
            // `openFd` says so of a file that is compressed. This one is not missing, because it was listed.
            if (!isWeights(name)) throw failed(path, error)
            val ending = name.substringAfterLast('.')
            val problem = "the asset $path is compressed, so its weights cannot be used where they lie; " +
                "add `androidResources { noCompress += \"$ending\" }` to the app's build.gradle.kts"
            throw MobileBertException("input", problem, path, cause = error)
        } catch (error: IOException) {
            throw failed(path, error)
        }
    }

    private fun failed(path: String, error: IOException) =
        MobileBertException("io", "the asset $path cannot be read: ${error.message}", path, cause = error)
}
