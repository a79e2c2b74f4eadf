package io.mobilebert.tests

import io.mobilebert.AnswersWithin
import io.mobilebert.BertNLClassifier
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.CallOptions
import io.mobilebert.Classification
import io.mobilebert.Embedding
import io.mobilebert.Entity
import io.mobilebert.FillCandidate
import io.mobilebert.FillMask
import io.mobilebert.MobileBertException
import io.mobilebert.NerTagger
import io.mobilebert.QaAnswer
import io.mobilebert.Task
import io.mobilebert.TextEmbedder
import io.mobilebert.TokenStates

// The files of `bindings/vectors`: results that every binding must give, floats to the bit.

private val known = setOf("answers", "classify", "embed", "errors", "fill", "tag", "text", "within")

/** An object of JSON. */
private typealias Fields = Map<*, *>

fun vectors(suite: Suite) {
    val files = root.resolve("bindings/vectors").listFiles().orEmpty().filter { it.extension == "json" }
    suite.test("every file of vectors is known") {
        same(known, files.map { it.nameWithoutExtension }.toSet(), "files")
    }
    for (file in files.sorted()) {
        val content = Json.read(file.readText()) as Fields
        val model = content["model"] as String?
        (content["cases"] as List<*>).forEachIndexed { number, case ->
            case as Fields
            // These count offsets in several units. Kotlin has those of its strings only, and passes none in.
            if (case["op"] == "offsets") return@forEachIndexed
            suite.test("vector ${file.nameWithoutExtension}-$number-${case["op"]}") { check(model, case) }
        }
    }
    opened.values.forEach { it.close() }
}

private val opened = HashMap<Pair<String, String>, Task>()

private fun open(op: String, model: String): Task =
    opened.getOrPut(op to model) {
        val folder = root.resolve(model)
        when (op) {
            "answers", "answers_within" -> BertQuestionAnswerer.createFromFile(folder)
            "classify" -> BertNLClassifier.createFromFile(folder)
            "tag" -> NerTagger.createFromFile(folder)
            "fill" -> FillMask.createFromFile(folder)
            "embed", "states" -> TextEmbedder.createFromFile(folder)
            else -> throw AssertionError("the vectors have an operation that this test does not know: $op")
        }
    }

private fun check(model: String?, case: Fields) {
    val (op, input, expect) = Triple(case["op"] as String, case["input"] as Fields, case["expect"] as Fields)
    val options = CallOptions.builder()
    (case["options"] as Fields).forEach { (name, value) -> options.setOption(name as String, value) }
    val error = expect["error"] as Fields?
    if (op == "text") return text(input, expect)
    val run = { call(op, open(op, model!!), input, options.build()) }
    if (error != null) {
        same(error, described(fails(run), "index" in error, "position" in error), "error")
    } else {
        same(bitsOnly(expect), mapOf((if ("result" in expect) "result" else "results") to run()), "result")
    }
}

/** Calls the function that goes with the input, and returns its result as the vectors write it. */
private fun call(op: String, task: Task, input: Fields, call: CallOptions): Any? {
    val text = input["text"] as String?
    val texts = strings(input["texts"])
    return when (task) {
        is BertQuestionAnswerer -> {
            val context = input["context"] as String?
            val (questions, contexts) = strings(input["questions"]) to strings(input["contexts"])
            when {
                op == "answers_within" -> {
                    val most = (input["most_windows"] as Long?)?.toInt()
                    task.answersWithin(context!!, input["question"] as String, most, call).written(context)
                }
                questions == null ->
                    task.answer(context!!, input["question"] as String, call).written(context)
                context != null -> task.answerAll(context, questions, call).map { it.written(context) }
                else -> {
                    val found = task.answerPairs(contexts!!, questions, call)
                    found.zip(contexts) { answers, of -> answers.written(of) }
                }
            }
        }
        is BertNLClassifier -> {
            val (second, seconds) = input["text_pair"] as String? to strings(input["text_pairs"])
            when {
                second != null -> task.classifyPair(text!!, second, call).written()
                text != null -> task.classification(text, call).written().also { found ->
                    val alone = task.classify(text, call).map { label(it.label, it.score) }
                    same(found["labels"], alone, "classify")
                }
                seconds != null -> task.classifyPairs(texts!!, seconds, call).map { it.written() }
                else -> task.classifyAll(texts!!, call).map { it.written() }
            }
        }
        is NerTagger ->
            if (text != null) task.tag(text, call).map { it.written(text) }
            else task.tagAll(texts!!, call).zip(texts) { found, given -> found.map { it.written(given) } }
        is FillMask ->
            if (text != null) task.fill(text, call).map { mask -> mask.map { it.written() } }
            else task.fillAll(texts!!, call).map { masks -> masks.map { mask -> mask.map { it.written() } } }
        is TextEmbedder -> when {
            op == "states" && text != null -> task.tokenStates(text, call).written()
            op == "states" -> task.tokenStatesAll(texts!!, call).map { it.written() }
            text != null -> task.embed(text, call).written()
            else -> task.embedAll(texts!!, call).map { it.written() }
        }
        else -> throw AssertionError("$task")
    }
}

private fun strings(list: Any?): List<String>? = (list as List<*>?)?.map { it as String }

private fun bits(value: Float): Map<String, Any> =
    mapOf("bits" to java.lang.Float.floatToRawIntBits(value).toUInt().toString(16).padStart(8, '0'))

private fun bits(values: FloatArray): Map<String, Any> = mapOf("bits" to values.map { bits(it)["bits"] })

/** Leaves out the decimals beside the bits. */
private fun bitsOnly(expected: Any?): Any? =
    when (expected) {
        is Map<*, *> -> expected.filterKeys { it != "decimal" }.mapValues { bitsOnly(it.value) }
        is List<*> -> expected.map(::bitsOnly)
        else -> expected
    }

/** Writes a place in all units, counted from the indices of the string. */
private fun place(text: String, start: Int, end: Int): Map<String, Any> {
    fun both(count: (String) -> Int) = listOf(start, end).map { count(text.substring(0, it)).toLong() }
    return mapOf(
        "byte" to both { it.toByteArray().size },
        "char" to both { it.codePointCount(0, it.length) },
        "utf16" to both { it.length },
    )
}

private fun List<QaAnswer>.written(context: String) = map { answer ->
    same(answer.text, context.substring(answer.start, answer.end), "the context at the place of the answer")
    mapOf(
        "answer" to answer.text,
        "score" to bits(answer.score),
        "place" to place(context, answer.start, answer.end),
        "others" to answer.others.map {
            mapOf("score" to bits(it.score), "place" to place(context, it.start, it.end))
        },
    )
}

private fun AnswersWithin.written(context: String) =
    mapOf(
        "answers" to answers.written(context),
        "windows" to windows.toLong(),
        "windows_read" to windowsRead.toLong(),
        "unread" to unread.map { place(context, it.start, it.end) },
    )

private fun label(label: String, score: Float) = mapOf("label" to label, "score" to bits(score))

private fun Classification.written() =
    mapOf("labels" to categories.map { label(it.label, it.score) }, "truncated" to truncated)

private fun Entity.written(text: String): Map<String, Any> {
    same(word, text.substring(start, end), "the text at the place of the entity")
    val place = place(text, start, end)
    return label(label, score) + mapOf("grouped" to isGrouped, "word" to word, "place" to place)
}

private fun FillCandidate.written() =
    mapOf("sequence" to sequence, "score" to bits(score), "token" to token, "token_str" to word)

private fun Embedding.written() = mapOf("embedding" to bits(values), "truncated" to truncated)

private fun TokenStates.written() = mapOf("states" to rows.map { bits(it) }, "truncated" to truncated)

/** Writes an error as the vectors do. Of a position, Kotlin has the index of the string. */
private fun described(found: MobileBertException, hasIndex: Boolean, hasPosition: Boolean): Map<String, Any?> {
    holds(found.code in MobileBertException.codes()) { "unknown code ${found.code}" }
    val all = mutableMapOf<String, Any?>("code" to found.code, "message" to found.message)
    all["place"] = found.place
    if (hasIndex || found.index != null) all["index"] = found.index?.toLong()
    if (hasPosition || found.position != null) all["position"] = found.position?.toLong()
    return all
}

private fun text(input: Fields, expect: Fields) {
    val text = String(CharArray((input["utf16"] as List<*>).size) { at ->
        ((input["utf16"] as List<*>)[at] as Long).toInt().toChar()
    })
    val classifier = open("classify", "models/sentiment") as BertNLClassifier
    val error = expect["error"] as Fields?
    if (error == null) {
        same(expect["text"], text, "text")
        same(classifier.classification(text), classifier.classifyAll(listOf(text)).single(), "label")
        return
    }
    val found = fails { classifier.classify(text) }
    val position = (error["position"] as Fields)["utf16"]
    same(error + ("position" to position), described(found, hasIndex = false, hasPosition = true), "error")
    // The same text as one of a list, and as the second of a pair.
    val listed = fails { classifier.classifyAll(listOf("fine", text)) }
    same("text 2: ${error["message"]}" to 1, listed.message to listed.index, "error of a list")
    same("second text", fails { classifier.classifyPair("fine", text) }.place, "place")
}
