@file:JvmName("Coroutines")

package io.mobilebert

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

// The calls of all tasks for coroutines. They run on `Dispatchers.Default`, and a coroutine that is cancelled
// ends its call before the next pass. Java does not need this file, nor kotlinx-coroutines at run time.

/** Answers a question without blocking the thread; see [BertQuestionAnswerer.answer]. */
public suspend fun BertQuestionAnswerer.awaitAnswer(
    context: String,
    question: String,
    call: CallOptions = CallOptions.DEFAULT,
): List<QaAnswer> = awaiting(call) { answer(context, question, it) }

/** Answers many questions without blocking the thread; see [BertQuestionAnswerer.answerAll]. */
public suspend fun BertQuestionAnswerer.awaitAnswerAll(
    context: String,
    questions: List<String>,
    call: CallOptions = CallOptions.DEFAULT,
): List<List<QaAnswer>> = awaiting(call) { answerAll(context, questions, it) }

/**
 * Answers a question from a part of a context without blocking the thread; see
 * [BertQuestionAnswerer.answersWithin].
 */
public suspend fun BertQuestionAnswerer.awaitAnswersWithin(
    context: String,
    question: String,
    mostWindows: Int? = null,
    call: CallOptions = CallOptions.DEFAULT,
): AnswersWithin = awaiting(call) { answersWithin(context, question, mostWindows, it) }

/** Labels a text without blocking the thread; see [TextClassifier.classify]. */
public suspend fun TextClassifier.awaitClassify(
    text: String,
    call: CallOptions = CallOptions.DEFAULT,
): List<Category> = awaiting(call) { classify(text, it) }

/** Labels many texts without blocking the thread; see [TextClassifier.classifyAll]. */
public suspend fun TextClassifier.awaitClassifyAll(
    texts: List<String>,
    call: CallOptions = CallOptions.DEFAULT,
): List<Classification> = awaiting(call) { classifyAll(texts, it) }

/** Finds entities without blocking the thread; see [NerTagger.tag]. */
public suspend fun NerTagger.awaitTag(text: String, call: CallOptions = CallOptions.DEFAULT): List<Entity> =
    awaiting(call) { tag(text, it) }

/** Finds the entities of many texts without blocking the thread; see [NerTagger.tagAll]. */
public suspend fun NerTagger.awaitTagAll(
    texts: List<String>,
    call: CallOptions = CallOptions.DEFAULT,
): List<List<Entity>> = awaiting(call) { tagAll(texts, it) }

/** Finds words for masks without blocking the thread; see [FillMask.fill]. */
public suspend fun FillMask.awaitFill(
    text: String,
    call: CallOptions = CallOptions.DEFAULT,
): List<List<FillCandidate>> = awaiting(call) { fill(text, it) }

/** Computes a vector without blocking the thread; see [TextEmbedder.embed]. */
public suspend fun TextEmbedder.awaitEmbed(text: String, call: CallOptions = CallOptions.DEFAULT): Embedding =
    awaiting(call) { embed(text, it) }

/** Computes many vectors without blocking the thread; see [TextEmbedder.embedAll]. */
public suspend fun TextEmbedder.awaitEmbedAll(
    texts: List<String>,
    call: CallOptions = CallOptions.DEFAULT,
): List<Embedding> = awaiting(call) { embedAll(texts, it) }

private suspend fun <T> awaiting(call: CallOptions, run: (CallOptions) -> T): T {
    val cancellation = Cancellation()
    try {
        return coroutineScope {
            // It waits on no thread, so that nothing keeps it from seeing the end of the coroutine at once.
            val watcher = launch(Dispatchers.Unconfined) {
                try {
                    awaitCancellation()
                } finally {
                    cancellation.cancel()
                }
            }
            try {
                withContext(Dispatchers.Default) { run(call.endedBy(cancellation)) }
            } finally {
                watcher.cancel()
            }
        }
    } catch (ended: MobileBertException) {
        // A cancelled coroutine ends as coroutines do, and not by the error of the call that it gave up.
        if (ended.code == "cancelled") currentCoroutineContext().ensureActive()
        throw ended
    }
}
