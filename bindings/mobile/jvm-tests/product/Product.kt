package io.mobilebert.tests.product

import com.sun.jna.NativeLibrary
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.BertQuestionAnswererOptions
import io.mobilebert.Delegate
import io.mobilebert.MobileBertException
import io.mobilebert.awaitAnswer
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import java.io.File
import kotlin.system.exitProcess

/** A program with a library that brings a backend of its own, `examples/product`. */
fun main() {
    val library = NativeLibrary.getInstance(System.getProperty("uniffi.component.mobilebert_mobile.libraryOverride"))
    val folder = File(System.getProperty("mobilebert.root"), "models/qa")
    fun passes() = library.getFunction("example_passes").invokeLong(arrayOf())
    fun open(delegate: Delegate) = BertQuestionAnswerer.createFromFileAndOptions(
        folder, BertQuestionAnswererOptions.builder().setDelegate(delegate).build(),
    )
    fun answer(delegate: Delegate) =
        open(delegate).use { it.answer("It was built by Ada.", "Who built it?") }

    val unknown = try {
        open(Delegate.named("timed")).close()
        null
    } catch (failure: MobileBertException) {
        failure.code to failure.place
    }
    check(unknown == "option" to "backend") { "found $unknown" }
    check(library.getFunction("example_register_backends").invokeInt(arrayOf()) and 1 == 1) { "not registered" }
    val expected = answer(Delegate.NATIVE)
    check(passes() == 0L) { "the engine's own backend was not used" }
    check(answer(Delegate.named("timed")) == expected) { "another answer than $expected" }
    check(passes() == 1L) { "the product's backend made ${passes()} passes" }
    open(Delegate.named("timed")).use { qa ->
        val (context, question) = "The harbour was quiet that year. ".repeat(20_000) to "Who built it?"
        val windows = qa.answersWithin(context, question, mostWindows = 1).windows
        val before = passes()
        runBlocking {
            val call = launch { qa.awaitAnswer(context, question) }
            while (passes() == before) delay(1)
            call.cancelAndJoin()
        }
        // No pass has more than one window of this context, and the call ends before its next pass.
        val made = passes() - before
        check(windows > 400 && made < windows / 2) { "a cancelled coroutine made $made passes of $windows" }
    }
    println("2 passed, 0 failed")
    exitProcess(0)
}
