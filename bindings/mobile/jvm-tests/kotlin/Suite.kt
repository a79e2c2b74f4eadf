package io.mobilebert.tests

import io.mobilebert.MobileBertException
import java.io.File

/**
 * Runs tests one by one, counts those that pass and shows those that fail. The property `mobilebert.only`
 * leaves out those whose names do not contain it.
 */
class Suite {
    private val only = System.getProperty("mobilebert.only", "")
    private var passed = 0
    private val failed = ArrayList<String>()

    fun test(name: String, body: () -> Unit) {
        if (only !in name) return
        val start = System.nanoTime()
        try {
            body()
            passed += 1
        } catch (failure: Throwable) {
            failed += name
            println("FAILED $name: $failure")
            failure.stackTrace.take(8).forEach { println("    at $it") }
        }
        val millis = (System.nanoTime() - start) / 1_000_000
        if (millis > 1000) println("$name: $millis ms")
    }

    /** Prints the result and returns the exit code. */
    fun finish(): Int {
        if (failed.isNotEmpty()) println("failed: ${failed.joinToString()}")
        println("$passed passed, ${failed.size} failed")
        return if (failed.isEmpty() && passed > 0) 0 else 1
    }
}

fun <T> same(expected: T, found: T, what: String = "value") {
    if (expected != found) throw AssertionError("$what: expected $expected, found $found")
}

fun holds(condition: Boolean, what: () -> String) {
    if (!condition) throw AssertionError(what())
}

/** Returns the exception that a call throws. */
fun fails(run: () -> Any?): MobileBertException {
    val found = try {
        run()
    } catch (failure: MobileBertException) {
        return failure
    }
    throw AssertionError("expected an exception, found $found")
}

/** The root of the checkout. */
val root = File(System.getProperty("mobilebert.root"))

/** The model that answers questions. */
val qaFolder = root.resolve("models/qa")

/** A tagger of 18 kB. */
val nerFolder = root.resolve("bindings/vectors/models/ner")

/** The resident memory of this process in bytes, once garbage is collected. */
fun resident(): Long {
    repeat(3) {
        System.gc()
        Thread.sleep(50)
    }
    val pages = File("/proc/self/statm").readText().split(' ')[1].toLong()
    return pages * 4096
}
