package io.mobilebert.sample

import android.app.Activity
import android.graphics.Color
import android.os.Bundle
import android.text.SpannableString
import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import io.mobilebert.BertQuestionAnswerer
import io.mobilebert.MobileBertException
import io.mobilebert.QaAnswer
import io.mobilebert.android.createFromFile
import io.mobilebert.awaitAnswer
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import java.util.Locale

/** Asks a question about a text and marks the answer in it. */
class MainActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Main)
    private lateinit var model: Deferred<BertQuestionAnswerer>
    private lateinit var context: EditText
    private lateinit var question: EditText
    private lateinit var status: TextView

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        context = EditText(this).apply { setText(CONTEXT) }
        question = EditText(this).apply { setText("Who built the lamp?") }
        status = TextView(this)
        val ask = Button(this).apply {
            text = "Ask"
            setOnClickListener { scope.launch { ask() } }
        }
        val column = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        listOf(question, ask, status, context).forEach { column.addView(it) }
        setContentView(ScrollView(this).apply { addView(column) })
        model = scope.async(Dispatchers.Default) {
            BertQuestionAnswerer.createFromFile(applicationContext, "qa")
        }
    }

    override fun onDestroy() {
        // A call that runs ends before its next pass. A model that is still being opened has a cleaner.
        scope.cancel()
        if (model.isCompleted && !model.isCancelled) runBlocking { model.await().close() }
        super.onDestroy()
    }

    private suspend fun ask() {
        status.text = "…"
        val text = context.text.toString()
        try {
            val qa = model.await()
            val start = System.nanoTime()
            val answer = qa.awaitAnswer(text, question.text.toString()).first()
            show(text, answer, (System.nanoTime() - start) / 1e6)
        } catch (failure: MobileBertException) {
            status.text = failure.message
        }
    }

    private fun show(text: String, answer: QaAnswer, millis: Double) {
        val marked = SpannableString(text)
        marked.setSpan(
            BackgroundColorSpan(Color.YELLOW),
            answer.start,
            answer.end,
            Spanned.SPAN_EXCLUSIVE_EXCLUSIVE,
        )
        context.setText(marked)
        status.text = String.format(Locale.ROOT, "%s (%.2f), %.0f ms", answer.text, answer.score, millis)
    }

    private companion object {
        const val CONTEXT = "The lamp in the harbour was built by Zoë Müller in 1880. Before that, ships " +
            "had to wait for the morning."
    }
}
