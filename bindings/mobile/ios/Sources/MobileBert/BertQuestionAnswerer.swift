internal import MobileBertNative

/// An answer: a piece of its context, such that `context[range] == text`. The answer "the context does not
/// say", which the option `handleImpossibleAnswer` allows, has an empty text.
public struct QaAnswer: Hashable, Sendable {
    /// The text of the answer.
    public let text: String
    /// How likely it is, from 0 to 1.
    public let score: Float
    /// Its place, as indices of the context.
    public let range: Range<String.Index>
    /// Its place in UTF-16 units, which `NSString`, `NSRange` and other languages count.
    public let utf16: Range<Int>
    /// The other places with the same text, best first, with their parts of the score.
    public let others: [OtherPlace]
}

/// Another place of an answer's text, with its part of the score.
public struct OtherPlace: Hashable, Sendable {
    /// The place, as indices of the context.
    public let range: Range<String.Index>
    /// The place in UTF-16 units.
    public let utf16: Range<Int>
    /// Its part of the score.
    public let score: Float
}

/// The answers in the part of a context that was read.
public struct AnswersWithin: Hashable, Sendable {
    /// The best answers in the windows that were read, best first. Their scores are shares among these windows.
    public let answers: [QaAnswer]
    /// The number of windows of the context.
    public let windows: Int
    /// The number of windows that were read.
    public let windowsRead: Int
    /// The parts of the context that no window that was read holds, in their order.
    public let unread: [UnreadPart]
}

/// A part of a context that was not read.
public struct UnreadPart: Hashable, Sendable {
    /// The part, as indices of the context.
    public let range: Range<String.Index>
    /// The part in UTF-16 units.
    public let utf16: Range<Int>
}

/// Finds answers to questions in contexts of any length.
///
/// ```swift
/// let qa = try BertQuestionAnswerer(folder: folder)
/// let answers = try qa.answer(context: "It was built by Ada.", question: "Who built it?")
/// print(answers[0].text)  // Ada
/// ```
public final class BertQuestionAnswerer: BertTask {
    private let pipeline: QuestionAnswering

    /// Describes the model.
    public let info: ModelInfo

    /// Opens a model from wherever it is.
    public init(source: ModelSource, options: BertQuestionAnswererOptions) throws {
        pipeline = try source.opened(options, QuestionAnswering.open)
        info = ModelInfo(pipeline.facts())
    }

    /// Uses a model that is loaded. Options of loading do not apply.
    public init(model: BertModel, options: BertQuestionAnswererOptions) throws {
        pipeline = try model.shared(options, QuestionAnswering.ofModel)
        info = ModelInfo(pipeline.facts())
    }

    /// Answers a question, best answer first. The list has more than one if the option `topK` asks for it.
    public func answer(context: String, question: String, call: CallOptions = CallOptions()) throws
        -> [QaAnswer]
    {
        try answers([context], [question], isOne: false, isList: false, call)[0]
    }

    /// Answers many questions about one context, which is tokenised once.
    public func answerAll(
        context: String, questions: [String], call: CallOptions = CallOptions()
    ) throws -> [[QaAnswer]] {
        try answers([context], questions, isOne: true, isList: true, call)
    }

    /// Answers each question about the context at the same index.
    public func answerPairs(
        contexts: [String], questions: [String], call: CallOptions = CallOptions()
    ) throws -> [[QaAnswer]] {
        try answers(contexts, questions, isOne: false, isList: true, call)
    }

    /// Answers a question without reading the whole context, and says what was left unread. The windows of the
    /// context that have most words in common with the question are read first.
    ///
    /// It reads `mostWindows` windows, or all if that is `nil`, which gives the same result on every machine.
    /// The time of the call ends the search with what was found by then; it is the error `deadline_exceeded`
    /// only if it is over before the first pass. If all windows are read, the answers are those of
    /// ``answer(context:question:call:)``.
    public func answersWithin(
        context: String, question: String, mostWindows: Int? = nil, call: CallOptions = CallOptions()
    ) throws -> AnswersWithin {
        let context = try bounded("context", context)
        let question = try bounded("question", question)
        let found = try call.calling {
            try pipeline.answersWithin(
                question: question, context: context, mostWindows: mostWindows.map(Int32.init(clamping:)),
                options: $0, timeoutMillis: $1, cancellations: $2)
        }
        return AnswersWithin(
            answers: found.answers.map { QaAnswer($0, in: context) },
            windows: Int(found.windows),
            windowsRead: Int(found.windowsRead),
            unread: found.unread.map { UnreadPart(range: $0.range(in: context), utf16: $0.utf16) })
    }

    private func answers(
        _ contexts: [String], _ questions: [String], isOne: Bool, isList: Bool, _ call: CallOptions
    ) throws -> [[QaAnswer]] {
        let contexts = try bounded("context", contexts)
        let questions = try bounded("question", questions)
        let found = try call.calling {
            try pipeline.answers(
                questions: questions, contexts: contexts, oneContext: isOne, isList: isList, options: $0,
                timeoutMillis: $1, cancellations: $2)
        }
        return found.enumerated().map { index, answers in
            answers.map { QaAnswer($0, in: contexts[isOne ? 0 : index]) }
        }
    }
}

extension QaAnswer {
    fileprivate init(_ found: Answer, in context: String) {
        text = found.answer
        score = found.score
        range = found.place.range(in: context)
        utf16 = found.place.utf16
        others = found.others.map {
            OtherPlace(range: $0.place.range(in: context), utf16: $0.place.utf16, score: $0.score)
        }
    }
}

extension BertQuestionAnswerer {
    /// Answers a question in the background, best answer first.
    public func answer(
        context: String, question: String, call: CallOptions = CallOptions()
    ) async throws -> [QaAnswer] {
        try await inBackground(call) { try self.answer(context: context, question: question, call: $0) }
    }

    /// Answers many questions about one context in the background.
    public func answerAll(
        context: String, questions: [String], call: CallOptions = CallOptions()
    ) async throws -> [[QaAnswer]] {
        try await inBackground(call) { try self.answerAll(context: context, questions: questions, call: $0) }
    }

    /// Answers a question from a part of a context in the background.
    public func answersWithin(
        context: String, question: String, mostWindows: Int? = nil, call: CallOptions = CallOptions()
    ) async throws -> AnswersWithin {
        try await inBackground(call) {
            try self.answersWithin(
                context: context, question: question, mostWindows: mostWindows, call: $0)
        }
    }

    /// Answers each question about the context at the same index in the background.
    public func answerPairs(
        contexts: [String], questions: [String], call: CallOptions = CallOptions()
    ) async throws -> [[QaAnswer]] {
        try await inBackground(call) {
            try self.answerPairs(contexts: contexts, questions: questions, call: $0)
        }
    }
}

/// The options of ``BertQuestionAnswerer``.
public struct BertQuestionAnswererOptions: TaskOptions, Hashable {
    /// The largest number of answers. Default: 1.
    public var topK: TopK?
    /// The longest sequence of question and window of the context, in tokens. Default: 384.
    public var maxLength: Int?
    /// The number of tokens that neighbouring windows of a long context share. Default: 128.
    public var docStride: Int?
    /// The longest question in tokens. A longer one is an error. Default: 64.
    public var maxQuestionLength: Int?
    /// The longest answer in tokens. Default: 30.
    public var maxAnswerLength: Int?
    /// Says whether "the context does not say" may be an answer, which is an empty one. Default: false.
    public var handleImpossibleAnswer: Bool?
    public var model: ModelOptions
    public var more: [String: OptionValue]

    public init() { self.init(topK: nil) }

    /// Makes options. What is `nil` has its default.
    public init(
        topK: TopK? = nil,
        maxLength: Int? = nil,
        docStride: Int? = nil,
        maxQuestionLength: Int? = nil,
        maxAnswerLength: Int? = nil,
        handleImpossibleAnswer: Bool? = nil,
        model: ModelOptions = ModelOptions(),
        more: [String: OptionValue] = [:]
    ) {
        self.topK = topK
        self.maxLength = maxLength
        self.docStride = docStride
        self.maxQuestionLength = maxQuestionLength
        self.maxAnswerLength = maxAnswerLength
        self.handleImpossibleAnswer = handleImpossibleAnswer
        self.model = model
        self.more = more
    }

    public var byName: [String: OptionValue] {
        collected([
            "top_k": topK?.value,
            "max_seq_len": maxLength?.option,
            "doc_stride": docStride?.option,
            "max_question_len": maxQuestionLength?.option,
            "max_answer_len": maxAnswerLength?.option,
            "handle_impossible_answer": handleImpossibleAnswer.map(OptionValue.flag),
        ])
    }
}
