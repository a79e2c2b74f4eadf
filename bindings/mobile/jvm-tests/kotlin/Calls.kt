package io.mobilebert.tests

import io.mobilebert.AnswersWithin
import io.mobilebert.BertModel
import io.mobilebert.BertNLClassifier
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.BertQuestionAnswererOptions
import io.mobilebert.CallOptions
import io.mobilebert.Cancellation
import io.mobilebert.ClassifierOptions
import io.mobilebert.Delegate
import io.mobilebert.MobileBertException
import io.mobilebert.ModelOptions
import io.mobilebert.ModelSource
import io.mobilebert.NerTagger
import io.mobilebert.Precision
import io.mobilebert.TextEmbedder
import io.mobilebert.awaitAnswer
import io.mobilebert.awaitAnswersWithin
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import java.util.Collections
import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executors
import java.util.concurrent.Future
import java.util.concurrent.TimeUnit

private const val CONTEXT = "😀 Café «Zoë»\r\n東京で。 The lamp\u0000 was built by Zoë Müller in 1880, 𠮷."
private const val QUESTION = "Who built the lamp?"

/** A context of so many windows that no machine reads it within the times of these tests. */
private val long = "The harbour was quiet that year, and nothing was written down. ".repeat(8000) + CONTEXT

fun calls(suite: Suite) {
    val qa = BertQuestionAnswerer.createFromFile(qaFolder)
    suite.test("offsets are indices of the string") {
        val answer = qa.answer(CONTEXT, QUESTION).single()
        same("Zoë Müller", answer.text)
        same(answer.text, CONTEXT.substring(answer.start, answer.end))
    }
    suite.test("options of opening and of a call") {
        val options = BertQuestionAnswererOptions.builder()
            .setTopK(2).setThreads(1).setPrecision(Precision.INT8).setMaxLength(128).setDocStride(32)
            .setMaxAnswerLength(8).setMaxQuestionLength(32).setHandleImpossibleAnswer(true).build()
        BertQuestionAnswerer.createFromFileAndOptions(qaFolder, options).use { two ->
            same(2, two.answer(CONTEXT, QUESTION).size, "answers")
            same(1, two.answer(CONTEXT, QUESTION, CallOptions.builder().setTopK(1).build()).size, "answers")
            same(1, two.info.threads, "threads")
            same("int8", two.info.precision, "precision")
        }
        val wrong = BertQuestionAnswererOptions.builder().setThreads(-1).build()
        val failure = fails { BertQuestionAnswerer.createFromFileAndOptions(qaFolder, wrong) }
        same("option" to "threads", failure.code to failure.place)
        val own = BertQuestionAnswererOptions.builder().setDelegate(Delegate.NATIVE).build()
        BertQuestionAnswerer.createFromFileAndOptions(qaFolder, own).use {
            same(1, it.answer(CONTEXT, QUESTION).size)
        }
        val other = BertQuestionAnswererOptions.builder().setDelegate(Delegate.named("nnapi")).build()
        val missing = fails { BertQuestionAnswerer.createFromFileAndOptions(qaFolder, other) }
        same("option" to "backend", missing.code to missing.place)
        val odd = CallOptions.builder().setOption("top_k", Any()).build()
        same("`top_k` is a java.lang.Object; expected true or false, a number, a text or a list of texts",
            fails { qa.answer(CONTEXT, QUESTION, odd) }.message)
    }
    suite.test("halves of surrogate pairs are refused wherever a text goes in") {
        val cut = "a😀".dropLast(1)
        val question = fails { qa.answer(CONTEXT, cut) }
        same(listOf("invalid_text", "question", 1), listOf(question.code, question.place, question.position))
        same("context", fails { qa.answer("ab$cut", QUESTION) }.place)
        same("pair 1: context", fails { qa.answerPairs(listOf(cut), listOf(QUESTION)) }.place)
        same("question 2: question", fails { qa.answerAll(CONTEXT, listOf(QUESTION, cut)) }.place)
        same("invalid_text", fails { BertQuestionAnswerer.create(ModelSource.named(cut)) }.code)
        val option = CallOptions.builder().setOption("targets", listOf(cut)).build()
        same("invalid_text", fails { qa.answer(CONTEXT, QUESTION, option) }.code)
        same("invalid_text", fails { qa.answer(CONTEXT, "\uDE00\uD83D") }.code)
    }
    suite.test("eight threads share one handle") {
        val expected = qa.answer(CONTEXT, QUESTION)
        val pool = Executors.newFixedThreadPool(8)
        val results = pool.invokeAll(List(8) { Callable { List(10) { qa.answer(CONTEXT, QUESTION) } } })
        results.forEach { result -> result.get().forEach { same(expected, it, "answers") } }
        pool.shutdown()
        val one = BertQuestionAnswererOptions.builder().setThreads(1).build()
        BertQuestionAnswerer.createFromFileAndOptions(qaFolder, one).use {
            same(expected, it.answer(CONTEXT, QUESTION))
        }
    }
    suite.test("coroutines share one handle") {
        val found = runBlocking { List(8) { async { qa.awaitAnswer(CONTEXT, QUESTION) } }.awaitAll() }
        same(setOf(qa.answer(CONTEXT, QUESTION)), found.toSet(), "answers")
    }
    suite.test("a closed object is an error") {
        val closed = BertQuestionAnswerer.createFromFile(qaFolder)
        closed.close()
        closed.close()
        val message = closedMessage { closed.answer(CONTEXT, QUESTION) }
        same("this BertQuestionAnswerer is closed; open it again", message)
        val model = BertModel.open(ModelSource.folder(nerFolder))
        model.close()
        same("this BertModel is closed; open it again", closedMessage { NerTagger.createFromModel(model) })
    }
    suite.test("closing during calls ends them one way or the other") {
        repeat(10) {
            val tagger = NerTagger.createFromFile(nerFolder)
            val pool = Executors.newFixedThreadPool(4)
            val workers = List(4) {
                pool.submit { while (true) tagger.tag("Ada lives in London") }
            }
            Thread.sleep(5)
            tagger.close()
            for (worker in workers) {
                // What another thread throws is seen only here.
                val closed = endOf(worker)
                same(IllegalStateException::class.java, closed.javaClass, "what ended a worker: $closed")
                same("this NerTagger is closed; open it again", closed.message)
            }
            pool.shutdown()
        }
    }
    suite.test("a call is cancelled from another thread") {
        val cancellation = Cancellation()
        val pool = Executors.newSingleThreadExecutor()
        val stopper = pool.submit {
            Thread.sleep(100)
            cancellation.cancel()
        }
        val call = CallOptions.builder().setCancellation(cancellation).build()
        same("cancelled", fails { qa.answer(long, QUESTION, call) }.code)
        stopper.get()
        pool.shutdown()
        same(true, cancellation.isCancelled)
        // One that is cancelled before does not begin.
        same("cancelled", fails { qa.answer(CONTEXT, QUESTION, call) }.code)
        same("Zoë Müller", qa.answer(CONTEXT, QUESTION).single().text)
    }
    suite.test("a call ends at its time") {
        val call = CallOptions.builder().setTimeout(100, TimeUnit.MILLISECONDS).build()
        same("deadline_exceeded", fails { qa.answer(long, QUESTION, call) }.code)
        val wrong = CallOptions.builder().setTimeout(-1, TimeUnit.SECONDS).build()
        same("option" to "timeout", fails { qa.answer(CONTEXT, QUESTION, wrong) }.let { it.code to it.place })
        // One pass is enough for this context, but it takes long to tokenise.
        val short = CallOptions.builder().setTimeout(1, TimeUnit.MILLISECONDS).build()
        val wide = " ".repeat(2_000_000) + CONTEXT
        same("deadline_exceeded", fails { qa.answer(wide, QUESTION, short) }.code)
        val enough = CallOptions.builder().setTimeout(1, TimeUnit.HOURS).build()
        same("Zoë Müller", qa.answer(CONTEXT, QUESTION, enough).single().text)
    }
    suite.test("a search ends at its time with what it has found") {
        val found = inTime { time ->
            qa.answersWithin(long, QUESTION, call = CallOptions.builder().setTimeout(time, TimeUnit.MILLISECONDS).build())
        }
        holds(found.windowsRead in 1..<found.windows) { "$found" }
        same("Zoë Müller", found.answers.first().text)
        same(found, qa.answersWithin(long, QUESTION, found.windowsRead))
        same(found, runBlocking { qa.awaitAnswersWithin(long, QUESTION, found.windowsRead) })
        for (most in listOf(0, -1)) {
            val failure = fails { qa.answersWithin(CONTEXT, QUESTION, most) }
            same("option" to "most_windows", failure.code to failure.place)
        }
        same("context", fails { qa.answersWithin("\uD83D", QUESTION) }.place)
        same("question", fails { qa.answersWithin(CONTEXT, "\uD83D") }.place)
    }
    suite.test("texts that do not fit into a call are refused") {
        val million = "a".repeat(1 shl 20)
        val many = Collections.nCopies(684, million)
        fun refused(place: String, call: () -> Any?) {
            val failure = fails { call() }
            same("input" to place, failure.code to failure.place)
            holds("pass less at a time" in failure.message) { failure.message }
        }
        refused("context") { qa.answerPairs(many, Collections.nCopies(684, "Who?")) }
        refused("question") { qa.answerAll(CONTEXT, many) }
        val huge = CallOptions.builder().setOption("labels", many).build()
        refused("options") { qa.answer(CONTEXT, QUESTION, huge) }
        NerTagger.createFromFile(nerFolder).use { refused("text") { it.tagAll(many) } }
    }
    suite.test("times are rounded to whole milliseconds, away from zero") {
        fun millis(time: Long, unit: TimeUnit) =
            CallOptions.builder().setTimeout(time, unit).build().timeoutMillis
        same(1, millis(500, TimeUnit.MICROSECONDS))
        same(1, millis(1, TimeUnit.NANOSECONDS))
        same(2, millis(1001, TimeUnit.MICROSECONDS))
        same(2, millis(2000, TimeUnit.MICROSECONDS))
        same(0, millis(0, TimeUnit.NANOSECONDS))
        same(-1, millis(-1, TimeUnit.NANOSECONDS))
        same(3000, millis(3, TimeUnit.SECONDS))
        same(Long.MAX_VALUE, millis(Long.MAX_VALUE, TimeUnit.DAYS))
        same(Long.MAX_VALUE / 1000 + 1, millis(Long.MAX_VALUE, TimeUnit.MICROSECONDS))
        val none = CallOptions.builder().setTimeout(0, TimeUnit.SECONDS).build()
        same("deadline_exceeded", fails { qa.answer(CONTEXT, QUESTION, none) }.code)
    }
    suite.test("numbers that are not finite are refused and do not mean the default") {
        for (number in listOf(Double.NaN, Double.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY)) {
            val call = CallOptions.builder().setOption("top_k", number).build()
            val failure = fails { qa.answer(CONTEXT, QUESTION, call) }
            same("option" to "top_k", failure.code to failure.place)
            holds("expected a finite number" in failure.message) { failure.message }
        }
        val options = ClassifierOptions.builder().setThreshold(Float.NaN).build()
        val folder = root.resolve("models/sentiment")
        val failure = fails { BertNLClassifier.createFromFileAndOptions(folder, options) }
        same("option" to "threshold", failure.code to failure.place)
    }
    suite.test("a coroutine that is cancelled ends its call") {
        // How soon it ends is counted in passes by Product.kt.
        try {
            val found = runBlocking { withTimeout(100) { qa.awaitAnswer(long, QUESTION) } }
            throw AssertionError("expected a time-out, found $found")
        } catch (expected: TimeoutCancellationException) {
            // It is as it should be.
        }
        same("invalid_text", fails { runBlocking { qa.awaitAnswer(CONTEXT, "\uD83D") } }.code)
    }
    qa.close()
    suite.test("tasks share a loaded model") {
        val model = BertModel.open(ModelSource.folder(qaFolder), ModelOptions.builder().setThreads(1).build())
        same("question-answering", model.info.task)
        val shared = BertQuestionAnswerer.createFromModel(model)
        val embedder = TextEmbedder.createFromModel(model)
        same("wrong_task", fails { BertNLClassifier.createFromModel(model) }.code)
        model.close()
        same("Zoë Müller", shared.answer(CONTEXT, QUESTION).single().text)
        same(embedder.dimensions, embedder.embed("text").values.size)
        shared.close()
        embedder.close()
    }
    suite.test("similar texts have similar vectors") {
        TextEmbedder.createFromFile(root.resolve("models/embed")).use { embedder ->
            val (cat, kitten, tax) = embedder.embedAll(listOf("a cat", "a kitten", "an income tax form"))
            val near = TextEmbedder.cosineSimilarity(cat, kitten)
            val far = TextEmbedder.cosineSimilarity(cat, tax)
            holds(near > 0.6 && far < 0.3) { "near $near, far $far" }
        }
    }
    suite.test("results that no call can return are refused before they are computed") {
        TextEmbedder.createFromFile(root.resolve("models/embed")).use { embedder ->
            val count = Int.MAX_VALUE / (4 * embedder.dimensions) + 1
            val soon = CallOptions.builder().setTimeout(5, TimeUnit.SECONDS).build()
            val failure = fails { embedder.embedAll(Collections.nCopies(count, "a"), soon) }
            same("input" to "texts", failure.code to failure.place)
            holds("pass a smaller list" in failure.message) { failure.message }
        }
    }
}

/**
 * Returns what a search finds in the shortest time in which a busy machine finishes its first pass. That is far too
 * short for all of them.
 */
private fun inTime(search: (Long) -> AnswersWithin): AnswersWithin {
    var millis = 20L
    while (true) {
        try {
            return search(millis)
        } catch (late: MobileBertException) {
            same("deadline_exceeded", late.code)
            millis *= 2
        }
    }
}

/** Returns what ended the work of another thread. */
private fun endOf(work: Future<*>): Throwable =
    try {
        throw AssertionError("expected an exception, found ${work.get(60, TimeUnit.SECONDS)}")
    } catch (ended: ExecutionException) {
        ended.cause ?: ended
    }

private fun closedMessage(run: () -> Any): String? =
    try {
        throw AssertionError("expected an exception, found ${run()}")
    } catch (closed: IllegalStateException) {
        closed.message
    }
