/* Classify texts with a bundle of sentopt and the C API of ONNX Runtime.
 *
 *   predict MODEL LABEL... < ids.txt                a line is one text: its token ids, separated by blanks
 *   predict -x LIBRARY MODEL LABEL... < texts.txt   a line is one text; MODEL takes strings, LIBRARY has its operators
 *
 * LABEL... are the "labels" of the bundle's sentopt.json, in that order. For every line one is printed: the label, a
 * tabulator, and the probability of each label. Exit code 1 on errors.
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

/* A model and what it is called with. */
typedef struct {
  OrtSession *session;
  size_t inputs;
  char *names[MOST_INPUTS];
  int takes_text;
  const char *output; /* a graph of texts answers with probabilities, the others with logits */
} Model;

static Model open_model(const OrtEnv *env, const char *path, const char *library) {
  Model model = {0};
  OrtSessionOptions *options;
  check(ort->CreateSessionOptions(&options));
  check(ort->DisableMemPattern(options)); /* it keeps a plan for every length of text, and texts have hundreds */
  if (library) check(ort->RegisterCustomOpsLibrary_V2(options, library));
  check(ort->CreateSession(env, path, options, &model.session));
  ort->ReleaseSessionOptions(options);

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
  model.output = model.takes_text ? "probabilities" : "logits";
  return model;
}

/* The numbers of a line in a new array; `count` says how many. */
static int64_t *parse_ids(const char *line, size_t *count) {
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

static OrtValue *answer_text(const Model *model, const char *text) {
  OrtValue *value;
  const int64_t shape[] = {1};
  check(ort->CreateTensorAsOrtValue(allocator, shape, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &value));
  check(ort->FillStringTensor(value, &text, 1));
  OrtValue *found = run(model, &value);
  ort->ReleaseValue(value);
  return found;
}

/* Alone in its batch a text needs no padding: the mask is ones, positions count up, and the only type is 0. */
static OrtValue *answer_ids(const Model *model, const char *line) {
  size_t count;
  int64_t *ids = parse_ids(line, &count);
  const int64_t shape[] = {1, (int64_t)count};
  int64_t *data[MOST_INPUTS];
  OrtValue *values[MOST_INPUTS];
  for (size_t i = 0; i < model->inputs; i++) {
    const char *name = model->names[i];
    const int is_ids = !strcmp(name, "input_ids"), is_mask = !strcmp(name, "attention_mask");
    const int is_positions = !strcmp(name, "position_ids");
    if (!is_ids && !is_mask && !is_positions && strcmp(name, "token_type_ids")) fail("unknown input", name);
    data[i] = checked(malloc(count * sizeof *ids));
    for (size_t j = 0; j < count; j++) data[i][j] = is_ids ? ids[j] : is_positions ? (int64_t)j : is_mask;
    check(ort->CreateTensorWithDataAsOrtValue(memory, data[i], count * sizeof *ids, shape, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &values[i]));
  }
  OrtValue *found = run(model, values);
  for (size_t i = 0; i < model->inputs; i++) {
    ort->ReleaseValue(values[i]);
    free(data[i]);
  }
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

static void print_answer(const Model *model, OrtValue *found, char *const *labels, size_t count) {
  OrtTensorTypeAndShapeInfo *info;
  size_t size, best = 0;
  float *row;
  check(ort->GetTensorTypeAndShape(found, &info));
  check(ort->GetTensorShapeElementCount(info, &size));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  if (size != count) fail("the model does not have as many labels as were given", NULL);
  check(ort->GetTensorMutableData(found, (void **)&row));
  if (!model->takes_text) softmax(row, count);
  for (size_t i = 1; i < count; i++)
    if (row[i] > row[best]) best = i;
  printf("%s\t", labels[best]);
  for (size_t i = 0; i < count; i++) printf("%s%.6f", i ? " " : "", row[i]);
  putchar('\n');
}

int main(int argc, char **argv) {
  const char *library = argc > 2 && !strcmp(argv[1], "-x") ? argv[2] : NULL;
  char **rest = argv + (library ? 3 : 1);
  const int left = argc - (library ? 3 : 1);
  if (left < 3) fail("usage: predict [-x LIBRARY] MODEL LABEL LABEL... < lines", NULL);

  /* From 1.29 on onnxruntime sends usage data from Linux unless this is set before it starts. */
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) fail("this program was compiled for a newer onnxruntime than", OrtGetApiBase()->GetVersionString());
  OrtEnv *env;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "predict", &env));
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  Model model = open_model(env, rest[0], library);

  char *line = NULL;
  size_t capacity = 0;
  for (ssize_t length; (length = getline(&line, &capacity, stdin)) != -1;) {
    if (length && line[length - 1] == '\n') line[length - 1] = '\0';
    OrtValue *found = model.takes_text ? answer_text(&model, line) : answer_ids(&model, line);
    print_answer(&model, found, rest + 1, (size_t)left - 1);
    ort->ReleaseValue(found);
  }

  free(line);
  for (size_t i = 0; i < model.inputs; i++) check(ort->AllocatorFree(allocator, model.names[i]));
  ort->ReleaseSession(model.session);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseEnv(env);
  return 0;
}
