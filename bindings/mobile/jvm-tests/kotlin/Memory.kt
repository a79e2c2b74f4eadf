package io.mobilebert.tests

import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.BertQuestionAnswererOptions
import io.mobilebert.ModelSource
import io.mobilebert.NerTagger
import io.mobilebert.NerTaggerOptions
import java.io.File

private const val MIB = 1024 * 1024

fun memory(suite: Suite) {
    if (!File("/proc/self/statm").canRead()) {
        if (System.getenv("CI") == "true") {
            suite.test("memory can be measured") { throw AssertionError("this system has no /proc/self/statm") }
            return
        }
        println("SKIPPED: this system does not say how much memory a process has; memory is not tested")
        return
    }
    suite.test("10,000 opens and closes do not grow the memory") {
        val one = NerTaggerOptions.builder().setThreads(1).build()
        fun open(count: Int) = repeat(count) { number ->
            NerTagger.createFromFileAndOptions(nerFolder, one).use { tagger ->
                if (number % 100 == 0) tagger.tag("Ada lives in London")
            }
        }
        open(2000)
        val before = resident()
        open(10_000)
        val growth = resident() - before
        println("10,000 opens and closes: ${growth / 1024} kB more")
        // The tensors alone are 18 kB for each model, so that a tenth of them would show.
        holds(growth < 16 * MIB) { "the resident memory grew by ${growth / MIB} MiB" }
    }
    suite.test("pools of threads end with their task") {
        fun threads() = File("/proc/self/task").list().orEmpty().size
        val two = NerTaggerOptions.builder().setThreads(2).build()
        val before = threads()
        repeat(200) { NerTagger.createFromFileAndOptions(nerFolder, two).use { it.tag("Ada") } }
        Thread.sleep(100)
        holds(threads() < before + 20) { "$before threads became ${threads()}" }
    }
    suite.test("a cleaner closes what nobody holds") {
        val one = BertQuestionAnswererOptions.builder().setThreads(1).build()
        fun forget(count: Int) = repeat(count) {
            BertQuestionAnswerer.create(ModelSource.folder(qaFolder), one).answer("It was Ada.", "Who?")
            System.gc()
            Thread.sleep(20)
        }
        forget(5)
        val before = resident()
        forget(30)
        val growth = resident() - before
        println("30 forgotten models: ${growth / 1024} kB more")
        // Each holds 21 MB of weights.
        holds(growth < 150L * MIB) { "the resident memory grew by ${growth / MIB} MiB" }
    }
}
