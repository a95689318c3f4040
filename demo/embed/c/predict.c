/* Classify texts with a bundle of sentopt and the C API of ONNX Runtime.
 *
 *   predict MODEL < ids.txt                a line is one text: its token ids, separated by blanks
 *   predict -x LIBRARY MODEL < texts.txt   a line is one text in UTF-8; MODEL takes strings, LIBRARY has its operators
 *
 * For a model of pairs, a line of ids is those of the pair, a bar (|), and the types of its tokens, separated by blanks; a
 * line of texts is the two texts with a tabulator between them.
 *
 * For every line one is printed: the label, a tabulator, and the probability of each label, in the order of the model's
 * labels. Of a multi-label model, each label that reaches its threshold comes with a tabulator, in that order, or none. The
 * model's metadata name labels and thresholds. A model without such metadata needs them: -t and the "thresholds" of the
 * bundle's sentopt.json with commas between them before MODEL, and its "labels" as arguments after it. Exit code 1 on errors.
 */
#define _POSIX_C_SOURCE 200809L /* getline, setenv */

#include <errno.h>
#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUTS = 4 };

static const OrtApi *ort;
static OrtAllocator *allocator;
static OrtMemoryInfo *memory;

static void fail(const char *message, const char *detail) {
  fprintf(stderr, "predict: %s%s%s\n", message, detail ? ": " : "", detail ? detail : "");
  exit(1);
}

static void check(OrtStatus *status) {
  if (status) fail("onnxruntime", ort->GetErrorMessage(status));
}

static void *checked(void *allocated) {
  if (!allocated) fail("out of memory", NULL);
  return allocated;
}

/* A model, what it says of itself, and what it is called with. */
typedef struct {
  OrtSession *session;
  char **labels; /* none where the model does not name them */
  size_t label_count;
  float *thresholds; /* none of a model that gives each text one label */
  size_t threshold_count;
  size_t max_length; /* 0 where the model does not say */
  int takes_pairs;   /* 0 where the model does not say */
  size_t inputs;
  char *names[MOST_INPUTS];
  int takes_text;
  const char *output; /* a graph of texts answers with probabilities, the others with logits */
} Model;

/* A value of the model's metadata, to be freed with the allocator, or NULL. */
static char *look_up(const OrtModelMetadata *metadata, const char *key) {
  char *value = NULL;
  check(ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, key, &value));
  return value;
}

static void add_threshold(Model *model, const char *number) {
  char *end;
  const double threshold = strtod(number, &end);
  if (end == number || (*end && *end != ',') || !(threshold >= 0 && threshold <= 1))
    fail("a threshold must be a number from 0 to 1", number);
  model->thresholds = checked(realloc(model->thresholds, (model->threshold_count + 1) * sizeof *model->thresholds));
  model->thresholds[model->threshold_count++] = (float)threshold;
}

static void read_metadata(Model *model) {
  OrtModelMetadata *metadata;
  char key[64], *value;
  check(ort->SessionGetModelMetadata(model->session, &metadata));
  while (snprintf(key, sizeof key, "sentopt.label.%zu", model->label_count), (value = look_up(metadata, key))) {
    model->labels = checked(realloc(model->labels, (model->label_count + 1) * sizeof *model->labels));
    model->labels[model->label_count++] = value;
  }
  while (snprintf(key, sizeof key, "sentopt.threshold.%zu", model->threshold_count), (value = look_up(metadata, key))) {
    add_threshold(model, value);
    check(ort->AllocatorFree(allocator, value));
  }
  if ((value = look_up(metadata, "sentopt.pair.1"))) {
    model->takes_pairs = 1;
    check(ort->AllocatorFree(allocator, value));
  }
  if ((value = look_up(metadata, "sentopt.max_length"))) {
    model->max_length = strtoul(value, NULL, 10);
    check(ort->AllocatorFree(allocator, value));
  }
  ort->ReleaseModelMetadata(metadata);
}

static Model open_model(const OrtEnv *env, const char *path, const char *library) {
  Model model = {0};
  OrtSessionOptions *options;
  check(ort->CreateSessionOptions(&options));
  check(ort->DisableMemPattern(options)); /* it keeps a plan for every length of text, and texts have hundreds */
  if (library) check(ort->RegisterCustomOpsLibrary_V2(options, library));
  check(ort->CreateSession(env, path, options, &model.session));
  ort->ReleaseSessionOptions(options);
  read_metadata(&model);

  check(ort->SessionGetInputCount(model.session, &model.inputs));
  if (model.inputs == 0 || model.inputs > MOST_INPUTS) fail("the model has no input or too many", path);
  for (size_t i = 0; i < model.inputs; i++)
    check(ort->SessionGetInputName(model.session, i, allocator, &model.names[i]));

  OrtTypeInfo *type;
  const OrtTensorTypeAndShapeInfo *tensor;
  ONNXTensorElementDataType element;
  check(ort->SessionGetInputTypeInfo(model.session, 0, &type));
  check(ort->CastTypeInfoToTensorInfo(type, &tensor));
  check(ort->GetTensorElementType(tensor, &element));
  ort->ReleaseTypeInfo(type);
  model.takes_text = element == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
  if (model.takes_text) {
    if (model.inputs > 2) fail("the model takes more than two texts", path);
    model.takes_pairs = model.inputs == 2;
  }
  model.output = model.takes_text ? "probabilities" : "logits";
  return model;
}

/* The numbers of a line in a new array; `count` says how many. */
static int64_t *parse_ids(const char *line, size_t length, size_t *count) {
  if (memchr(line, 0, length)) fail("a line that is not token ids: it holds a NUL character", NULL);
  int64_t *ids = checked(malloc((strlen(line) / 2 + 1) * sizeof *ids));
  char *end;
  *count = 0;
  for (const char *next = line;; next = end) {
    errno = 0;
    long long id = strtoll(next, &end, 10);
    if (end == next) break;
    if (errno || id < 0) fail("no token id", line);
    ids[(*count)++] = id;
  }
  if (line[strspn(line, "0123456789 \t")] || *count == 0) fail("a line that is not token ids", line);
  return ids;
}

/* Answers one text. `found` is a tensor of one row, to be released by the caller. */
static OrtValue *run(const Model *model, OrtValue *const *values) {
  OrtValue *found = NULL;
  check(ort->Run(model->session, NULL, (const char *const *)model->names, (const OrtValue *const *)values,
                 model->inputs, &model->output, 1, &found));
  return found;
}

/* How many bytes at `text` are one character in UTF-8, shortest form and no half of a surrogate pair; 0 if none are. */
static size_t character(const unsigned char *text, size_t length) {
  const unsigned char first = text[0];
  if (first < 0x80) return 1;
  const size_t size = first < 0xC2 || first > 0xF4 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (size == 0 || size > length) return 0;
  const unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (text[1] < least || text[1] > most) return 0;
  for (size_t i = 2; i < size; i++)
    if ((text[i] & 0xC0) != 0x80) return 0;
  return size;
}

/* A copy in which U+FFFD stands for whatever is not UTF-8; half a surrogate pair, three bytes of some writers, is one. */
static char *repaired(const char *text, size_t *length) {
  const unsigned char *from = (const unsigned char *)text, *end = from + *length;
  char *copy = checked(malloc(3 * *length + 1)), *to = copy;
  while (from < end) {
    size_t size = character(from, (size_t)(end - from));
    if (size) {
      memcpy(to, from, size);
      to += size;
    } else {
      memcpy(to, "\xEF\xBF\xBD", 3);
      to += 3;
      size = from[0] == 0xED && end - from >= 3 && (from[1] & 0xE0) == 0xA0 && (from[2] & 0xC0) == 0x80 ? 3 : 1;
    }
    from += size;
  }
  *length = (size_t)(to - copy);
  return copy;
}

static OrtValue *string_tensor(const char *part, size_t length) {
  OrtValue *value;
  const int64_t shape[] = {1};
  char *text = repaired(part, &length), *content;
  check(ort->CreateTensorAsOrtValue(allocator, shape, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &value));
  /* FillStringTensor would end the text at a NUL character. */
  check(ort->GetResizedStringTensorElementBuffer(value, 0, length, &content));
  memcpy(content, text, length);
  free(text);
  return value;
}

/* Texts of pairs have a tabulator between them and none inside; tokenizers read it as a blank. */
static OrtValue *answer_text(const Model *model, char *line, size_t length) {
  OrtValue *values[2];
  const char *tab = model->takes_pairs ? memchr(line, '\t', length) : NULL;
  const size_t first = tab ? (size_t)(tab - line) : length, second = tab ? length - first - 1 : 0;
  if (model->takes_pairs && (!tab || memchr(tab + 1, '\t', second)))
    fail("a line must be two texts with one tabulator between them", line);
  values[0] = string_tensor(line, first);
  if (tab) values[1] = string_tensor(tab + 1, second);
  OrtValue *found = run(model, values);
  for (size_t i = 0; i < model->inputs; i++) ort->ReleaseValue(values[i]);
  return found;
}

static int has_types(const Model *model) {
  for (size_t i = 0; i < model->inputs; i++)
    if (!strcmp(model->names[i], "token_type_ids")) return 1;
  return 0;
}

/* The types of `count` tokens, from the text behind the bar of a line; a text that stands alone has no bar, and type 0. */
static int64_t *parse_types(const Model *model, const char *text, size_t length, size_t count) {
  size_t found = count;
  if (!text && model->takes_pairs && has_types(model))
    fail("this model reads pairs: a line must be token ids, a bar (|), and the types of the tokens", NULL);
  int64_t *types = text ? parse_ids(text, length, &found) : checked(calloc(count, sizeof *types));
  if (found != count) fail("a line must have as many types as token ids", text);
  return types;
}

/* Alone in its batch a text needs no padding: the mask is ones, and positions count up. */
static OrtValue *answer_ids(const Model *model, char *line, size_t length) {
  char *bar = memchr(line, '|', length);
  const size_t first = bar ? (size_t)(bar - line) : length;
  size_t count;
  if (bar) *bar = '\0';
  int64_t *ids = parse_ids(line, first, &count);
  int64_t *types = parse_types(model, bar ? bar + 1 : NULL, bar ? length - first - 1 : 0, count);
  if (model->max_length && count > model->max_length)
    fail("a text of more tokens than the model reads; cut it between its special tokens", line);
  const int64_t shape[] = {1, (int64_t)count};
  int64_t *data[MOST_INPUTS];
  OrtValue *values[MOST_INPUTS];
  for (size_t i = 0; i < model->inputs; i++) {
    const char *name = model->names[i];
    const int is_ids = !strcmp(name, "input_ids"), is_mask = !strcmp(name, "attention_mask");
    const int is_positions = !strcmp(name, "position_ids"), is_types = !strcmp(name, "token_type_ids");
    if (!is_ids && !is_mask && !is_positions && !is_types) fail("unknown input", name);
    data[i] = checked(malloc(count * sizeof *ids));
    for (size_t j = 0; j < count; j++)
      data[i][j] = is_ids ? ids[j] : is_positions ? (int64_t)j : is_types ? types[j] : is_mask;
    check(ort->CreateTensorWithDataAsOrtValue(memory, data[i], count * sizeof *ids, shape, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &values[i]));
  }
  OrtValue *found = run(model, values);
  for (size_t i = 0; i < model->inputs; i++) {
    ort->ReleaseValue(values[i]);
    free(data[i]);
  }
  free(types);
  free(ids);
  return found;
}

/* In place. Shifted by the largest logit, so that it cannot overflow. */
static void softmax(float *row, size_t count) {
  float largest = row[0], sum = 0.0f;
  for (size_t i = 1; i < count; i++) largest = fmaxf(largest, row[i]);
  for (size_t i = 0; i < count; i++) sum += row[i] = expf(row[i] - largest);
  for (size_t i = 0; i < count; i++) row[i] /= sum;
}

/* In place. */
static void sigmoid(float *row, size_t count) {
  for (size_t i = 0; i < count; i++) row[i] = 1.0f / (1.0f + expf(-row[i]));
}

static void print_answer(const Model *model, OrtValue *found, char *const *labels, size_t count) {
  OrtTensorTypeAndShapeInfo *info;
  size_t size, best = 0;
  float *row;
  check(ort->GetTensorTypeAndShape(found, &info));
  check(ort->GetTensorShapeElementCount(info, &size));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  if (size != count) fail("the model does not have as many labels as were given or as it names", NULL);
  check(ort->GetTensorMutableData(found, (void **)&row));
  if (!model->takes_text) (model->threshold_count ? sigmoid : softmax)(row, count);
  for (size_t i = 1; i < count; i++)
    if (row[i] > row[best]) best = i;
  for (size_t i = 0; i < count; i++)
    if (model->threshold_count ? row[i] >= model->thresholds[i] : i == best) printf("%s\t", labels[i]);
  for (size_t i = 0; i < count; i++) printf("%s%.6f", i ? " " : "", row[i]);
  putchar('\n');
}

int main(int argc, char **argv) {
  const char *library = NULL, *thresholds = NULL;
  char **rest = argv + 1;
  int left = argc - 1;
  for (; left > 1 && (!strcmp(rest[0], "-x") || !strcmp(rest[0], "-t")); rest += 2, left -= 2)
    *(rest[0][1] == 'x' ? &library : &thresholds) = rest[1];
  if (left < 1 || left == 2)
    fail("usage: predict [-x LIBRARY] [-t THRESHOLD,THRESHOLD...] MODEL [LABEL LABEL...] < lines", NULL);

  /* From 1.29 on onnxruntime sends usage data from Linux unless this is set before it starts. */
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) fail("this program was compiled for a newer onnxruntime than", OrtGetApiBase()->GetVersionString());
  OrtEnv *env;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "predict", &env));
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  Model model = open_model(env, rest[0], library);
  char *const *labels = left > 1 ? rest + 1 : model.labels;
  const size_t count = left > 1 ? (size_t)left - 1 : model.label_count;
  if (!count) fail("the model does not name its labels: give those of sentopt.json as arguments after it", rest[0]);
  if (thresholds) model.threshold_count = 0;
  for (const char *next = thresholds; next; next += *next == ',') {
    add_threshold(&model, next);
    if (!(next = strchr(next, ','))) break;
  }
  if (model.threshold_count && model.threshold_count != count)
    fail("a multi-label model must have as many thresholds as labels", NULL);

  char *line = NULL;
  size_t capacity = 0;
  for (ssize_t length; (length = getline(&line, &capacity, stdin)) != -1;) {
    if (length && line[length - 1] == '\n') line[--length] = '\0';
    OrtValue *found = (model.takes_text ? answer_text : answer_ids)(&model, line, (size_t)length);
    print_answer(&model, found, labels, count);
    ort->ReleaseValue(found);
  }

  free(line);
  for (size_t i = 0; i < model.label_count; i++) check(ort->AllocatorFree(allocator, model.labels[i]));
  free(model.labels);
  free(model.thresholds);
  for (size_t i = 0; i < model.inputs; i++) check(ort->AllocatorFree(allocator, model.names[i]));
  ort->ReleaseSession(model.session);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseEnv(env);
  return 0;
}
