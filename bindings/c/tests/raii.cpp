// The library from C++17, with handles that free themselves: `raii ROOT`, where ROOT is the repository.

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"

namespace {

// Frees what a function of the library returned.
template <auto free> struct Free {
  template <typename T> void operator()(T *object) const { free(object); }
};

using Model = std::unique_ptr<MobilebertModel, Free<mobilebert_model_free>>;
using Answers = std::unique_ptr<MobilebertAnswers, Free<mobilebert_answers_free>>;
using Embeddings = std::unique_ptr<MobilebertEmbeddings, Free<mobilebert_embeddings_free>>;

class Error : public std::runtime_error {
public:
  explicit Error(MobilebertError *error)
      : std::runtime_error(mobilebert_error_message(error)), code(mobilebert_error_code(error)) {
    mobilebert_error_free(error);
  }
  std::string code;
};

// Throws the error of a call that failed.
template <typename Call> auto checked(Call call) {
  MobilebertError *error = nullptr;
  auto *found = call(&error);
  if (found == nullptr)
    throw Error(error);
  return found;
}

MobilebertText text(std::string_view given) { return {given.data(), given.size()}; }

std::string root;

Model opened(const char *name) {
  std::string path = root + "/" + name;
  return Model(
      checked([&](MobilebertError **error) { return mobilebert_open(path.c_str(), nullptr, error); }));
}

void an_answer_is_a_piece_of_its_context() {
  Model model = opened("models/qa");
  std::string context = "\xF0\x9F\x98\x80 It was built by Ada.";
  Answers answers(checked([&](MobilebertError **error) {
    return mobilebert_answer(model.get(), text("Who built it?"), text(context), nullptr, error);
  }));
  const MobilebertAnswer *answer = mobilebert_answers_at(answers.get(), 0, 0);
  MobilebertSpan bytes = answer->place.bytes;
  CHECK(std::string_view(answer->text.data, answer->text.size) == "Ada");
  CHECK(context.substr(bytes.start, bytes.end - bytes.start) == "Ada");
  CHECK(answer->place.utf16.start == bytes.start - 2 && answer->place.code_points.start == bytes.start - 3);
}

void errors_become_exceptions() {
  std::string code;
  try {
    opened("nothing/here");
  } catch (const Error &error) {
    code = error.code;
    CHECK(std::string(error.what()).find("nothing/here") != std::string::npos);
  }
  CHECK(code == "unknown_model");
}

void vectors_are_rows() {
  Model model = opened("bindings/vectors/models/ner");
  std::vector<MobilebertText> texts = {text("a"), text("how old are you?")};
  MobilebertEmbedOptions options = mobilebert_embed_options();
  options.pooling = "cls";
  Embeddings found(checked([&](MobilebertError **error) {
    return mobilebert_embed_batch(model.get(), texts.data(), texts.size(), &options, error);
  }));
  std::size_t columns = mobilebert_embeddings_columns(found.get());
  const float *values = mobilebert_embeddings_values(found.get());
  std::vector<float> second(values + columns, values + 2 * columns);
  CHECK(mobilebert_embeddings_rows(found.get()) == 2 && second.size() == 16);
  Embeddings moved = std::move(found);
  CHECK(mobilebert_embeddings_values(moved.get()) == values);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: raii ROOT\n");
    return 2;
  }
  root = argv[1];
  TEST(an_answer_is_a_piece_of_its_context);
  TEST(errors_become_exceptions);
  TEST(vectors_are_rows);
  return check_end();
}
