import io.mobilebert.Aggregation;
import io.mobilebert.BertModel;
import io.mobilebert.BertNLClassifier;
import io.mobilebert.BertQuestionAnswerer;
import io.mobilebert.BertQuestionAnswererOptions;
import io.mobilebert.CallOptions;
import io.mobilebert.Cancellation;
import io.mobilebert.Category;
import io.mobilebert.ClassifierOptions;
import io.mobilebert.Embedding;
import io.mobilebert.Entity;
import io.mobilebert.FillCandidate;
import io.mobilebert.FillMask;
import io.mobilebert.FillMaskOptions;
import io.mobilebert.LongText;
import io.mobilebert.MobileBertException;
import io.mobilebert.ModelOptions;
import io.mobilebert.ModelSource;
import io.mobilebert.NLClassifier;
import io.mobilebert.NerTagger;
import io.mobilebert.NerTaggerOptions;
import io.mobilebert.Pooling;
import io.mobilebert.Precision;
import io.mobilebert.QaAnswer;
import io.mobilebert.TextEmbedder;
import io.mobilebert.TextEmbedderOptions;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** All tasks, called as a program in plain Java calls them, without coroutines on the class path. */
public final class JavaApi {
    private static final File ROOT = new File(System.getProperty("mobilebert.root"));
    private static int passed;

    private interface Body {
        void run() throws Exception;
    }

    private static void test(String name, Body body) {
        try {
            body.run();
            passed += 1;
        } catch (Throwable failure) {
            System.out.println("FAILED Java: " + name);
            failure.printStackTrace(System.out);
            System.exit(1);
        }
    }

    private static void same(Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    public static void main(String[] arguments) {
        test("question answering", JavaApi::answers);
        test("classification", JavaApi::labels);
        test("tagging", JavaApi::entities);
        test("masks", JavaApi::masks);
        test("embedding", JavaApi::vectors);
        test("errors", JavaApi::errors);
        System.out.println(passed + " passed, 0 failed");
    }

    private static void answers() throws Exception {
        File folder = new File(ROOT, "models/qa");
        String context = "\uD83D\uDE00 It was built by Ada.";
        try (BertQuestionAnswerer qa = BertQuestionAnswerer.createFromFile(folder)) {
            QaAnswer answer = qa.answer(context, "Who built it?").get(0);
            same("Ada", answer.getText());
            same("Ada", context.substring(answer.getStart(), answer.getEnd()));
            same(true, answer.getScore() > 0.9f);
            same(List.of(), answer.getOthers());
            same(2, qa.answerAll(context, List.of("Who built it?", "Who?")).size());
            same(1, qa.answerPairs(List.of(context), List.of("Who built it?")).size());
        }
        BertQuestionAnswererOptions options =
            BertQuestionAnswererOptions.builder().setThreads(2).setTopK(3).setMaxLength(128).build();
        Map<String, ByteBuffer> files = new HashMap<>();
        for (String name : List.of("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")) {
            files.put(name, ByteBuffer.wrap(Files.readAllBytes(folder.toPath().resolve(name))));
        }
        try (BertQuestionAnswerer qa = BertQuestionAnswerer.createFromBufferAndOptions(files, options)) {
            same(3, qa.answer(context, "Who built it?").size());
            CallOptions call = CallOptions.builder().setTopK(1).setTimeout(1, TimeUnit.HOURS)
                .setCancellation(new Cancellation()).build();
            same(1, qa.answer(context, "Who built it?", call).size());
            same("question-answering", qa.getInfo().getTask());
        }
        try (BertQuestionAnswerer qa = BertQuestionAnswerer.createFromFileAndOptions(folder, options)) {
            same(2, qa.getInfo().getThreads());
        }
    }

    private static void labels() {
        ModelSource source = ModelSource.folder(new File(ROOT, "models/sentiment"));
        ModelOptions loading = ModelOptions.builder().setThreads(1).setPrecision(Precision.INT8).build();
        ClassifierOptions all = ClassifierOptions.builder().setAllLabels().setLongText(LongText.REFUSE).build();
        try (BertModel model = BertModel.open(source, loading);
                NLClassifier one = NLClassifier.createFromModel(model);
                BertNLClassifier two = BertNLClassifier.createFromModel(model, all)) {
            Category best = one.classify("a joy to watch").get(0);
            same("positive", best.getLabel());
            same(best, two.classify("a joy to watch").get(0));
            same(2, two.classify("a joy to watch").size());
            same(false, two.classifyPair("a joy", "a bore").getTruncated());
            same(List.of("negative", "positive"), model.getInfo().getLabels());
        }
    }

    private static void entities() {
        File folder = new File(ROOT, "bindings/vectors/models/ner");
        NerTaggerOptions options = NerTaggerOptions.builder().setAggregation(Aggregation.NONE).build();
        try (NerTagger tagger = NerTagger.createFromFileAndOptions(folder, options)) {
            Entity entity = tagger.tag("Ada lives in London").get(0);
            same("Ada lives in London".substring(entity.getStart(), entity.getEnd()), entity.getWord());
            same(false, entity.isGrouped());
        }
    }

    private static void masks() {
        FillMaskOptions options = FillMaskOptions.builder().setTopK(2).build();
        ModelSource source = ModelSource.folder(new File(ROOT, "bindings/vectors/models/mlm"));
        try (FillMask fill = FillMask.create(source, options)) {
            List<List<FillCandidate>> masks = fill.fill("paris is the " + fill.getMaskToken() + " of france.");
            same(1, masks.size());
            same(2, masks.get(0).size());
            same(true, masks.get(0).get(0).getSequence().startsWith("paris is the "));
        }
    }

    private static void vectors() {
        TextEmbedderOptions options =
            TextEmbedderOptions.builder().setPooling(Pooling.MEAN).setL2Normalize(true).build();
        ModelSource source = ModelSource.folder(new File(ROOT, "models/embed"));
        try (TextEmbedder embedder = TextEmbedder.create(source, options)) {
            Embedding text = embedder.embed("a cat");
            same(embedder.getDimensions(), text.getValues().length);
            same(true, Math.abs(TextEmbedder.cosineSimilarity(text, text) - 1) < 1e-6);
        }
    }

    private static void errors() {
        NerTagger tagger = NerTagger.createFromFile(new File(ROOT, "bindings/vectors/models/ner"));
        try {
            tagger.tagAll(List.of("Ada", "x\uD83D"));
            throw new AssertionError("expected an exception");
        } catch (MobileBertException failure) {
            same("invalid_text", failure.getCode());
            same("text 2: text", failure.getPlace());
            same(1, failure.getIndex());
            same(1, failure.getPosition());
        }
        tagger.close();
        try {
            tagger.tag("Ada");
            throw new AssertionError("expected an exception");
        } catch (IllegalStateException closed) {
            same("this NerTagger is closed; open it again", closed.getMessage());
        }
    }
}
