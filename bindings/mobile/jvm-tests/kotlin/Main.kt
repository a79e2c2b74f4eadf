package io.mobilebert.tests

import kotlin.system.exitProcess

fun main() {
    val suite = Suite()
    vectors(suite)
    sources(suite)
    calls(suite)
    assets(suite)
    memory(suite)
    exitProcess(suite.finish())
}
