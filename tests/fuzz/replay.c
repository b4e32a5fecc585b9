/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver that turns a fuzzer (LLVMFuzzerTestOneInput) into a plain test:
 *
 *	fuzz-x-replay CORPUS_DIR [RUNS [SEED]]    every file, then RUNS mutations of them
 *	fuzz-x-replay FILE                        that one input, to look at a crash
 *
 * So the short run needs no libFuzzer and happens under whatever sanitizer the
 * build has. It is bounded by count, never by time, and repeats exactly for one
 * seed. Whatever input kills the process is written to ./crash-<fuzzer>-<seed>-<n>.
 *
 * The long run: CC=clang meson setup build/fuzz -Dfuzz=true
 * -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT_MAX = 64 * 1024, MAX_CORPUS = 4096, DEFAULT_RUNS = 100000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

struct input {
	uint8_t *data;
	size_t size;
};

static struct input corpus[MAX_CORPUS];
static size_t n_corpus;

/* What is being tried right now, for the crash file. */
static const uint8_t *current;
static size_t current_size;
static uint64_t seed = 1, run_number;
static const char *self = "fuzz";

static void write_crash(void)
{
	char path[256];
	int fd;

	if (!current)
		return;
	snprintf(path, sizeof(path), "crash-%s-%" PRIu64 "-%" PRIu64, self, seed, run_number);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd >= 0 && write(fd, current, current_size) == (ssize_t)current_size)
		fprintf(stderr, "%s: seed %" PRIu64 " run %" PRIu64 ": this input (%zu bytes) is in %s\n", self, seed,
			run_number, current_size, path);
	if (fd >= 0)
		close(fd);
	current = NULL;
}

static void on_signal(int sig)
{
	write_crash();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* A copy of exact size, so that the sanitizer sees a read one byte too far. */
static void try_one(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	memcpy(exact, data, size);
	current_size = size;
	current = exact;
	LLVMFuzzerTestOneInput(exact, size);
	current = NULL;
	free(exact);
}

static int load(const char *path)
{
	static uint8_t buf[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		fprintf(stderr, "%s: %s: %s\n", self, path, strerror(errno));
		return -errno;
	}
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	if (n_corpus == MAX_CORPUS) {
		fprintf(stderr, "%s: more than %d files in the corpus\n", self, MAX_CORPUS);
		return -E2BIG;
	}
	corpus[n_corpus].data = malloc(n ? n : 1);
	if (!corpus[n_corpus].data)
		return -ENOMEM;
	memcpy(corpus[n_corpus].data, buf, n);
	corpus[n_corpus++].size = n;
	return 0;
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static int load_dir(const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, not_hidden, alphasort); /* sorted: one seed, one sequence */
	int err = 0;

	if (n < 0) {
		fprintf(stderr, "%s: %s: %s\n", self, dir, strerror(errno));
		return -errno;
	}
	for (int i = 0; i < n; i++) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (!err)
			err = load(path);
		free(names[i]);
	}
	free(names);
	return err;
}

static uint64_t random_state;

/* splitmix64 */
static uint64_t rnd(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t below(size_t n)
{
	return n ? (size_t)(rnd() % n) : 0;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t mutate_once(uint8_t *buf, size_t size)
{
	static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x10, 0x40};
	size_t at = below(size), n, from;
	const struct input *other;

	switch (rnd() % 9) {
	case 0: /* a bit */
		if (size)
			buf[at] ^= (uint8_t)(1u << (rnd() & 7));
		return size;
	case 1: /* a byte */
		if (size)
			buf[at] = (uint8_t)rnd();
		return size;
	case 2: /* an edge value */
		if (size)
			buf[at] = edges[below(sizeof(edges))];
		return size;
	case 3: /* add a little */
		if (size)
			buf[at] = (uint8_t)(buf[at] + below(33) - 16);
		return size;
	case 4: /* cut the end */
		return below(size + 1);
	case 5: /* grow */
		n = min_size(below(64) + 1, INPUT_MAX - size);
		for (size_t i = 0; i < n; i++)
			buf[size + i] = (uint8_t)rnd();
		return size + n;
	case 6: /* remove a piece */
		n = min_size(below(16) + 1, size - at);
		memmove(buf + at, buf + at + n, size - at - n);
		return size - n;
	case 7: /* repeat a piece */
		n = min_size(below(64) + 1, min_size(size - at, INPUT_MAX - size));
		memmove(buf + at + n, buf + at, size - at);
		return size + n;
	default: /* splice in a piece of another input */
		other = &corpus[below(n_corpus)];
		from = below(other->size);
		n = min_size(min_size(below(128) + 1, other->size - from), INPUT_MAX - at);
		memcpy(buf + at, other->data + from, n);
		return at + n > size ? at + n : size;
	}
}

int main(int argc, char **argv)
{
	static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
	static uint8_t buf[INPUT_MAX];
	uint64_t runs = DEFAULT_RUNS;
	struct stat st;
	char *slash;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: %s CORPUS_DIR|FILE [RUNS [SEED]]\n", argv[0]);
		return 2;
	}
	slash = strrchr(argv[0], '/');
	self = slash ? slash + 1 : argv[0];
	if (argc > 2)
		runs = strtoull(argv[2], NULL, 0);
	if (argc > 3)
		seed = strtoull(argv[3], NULL, 0);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(write_crash);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		if (!__sanitizer_set_death_callback || fatal[i] == SIGABRT || fatal[i] == SIGALRM)
			signal(fatal[i], on_signal);
	}

	if (stat(argv[1], &st) < 0) {
		fprintf(stderr, "%s: %s: %s\n", self, argv[1], strerror(errno));
		return 2;
	}
	if (!S_ISDIR(st.st_mode)) {
		if (load(argv[1]) < 0)
			return 2;
		try_one(corpus[0].data, corpus[0].size);
		free(corpus[0].data);
		return 0;
	}
	if (load_dir(argv[1]) < 0)
		return 2;
	if (n_corpus == 0) {
		fprintf(stderr, "%s: %s: no corpus\n", self, argv[1]);
		return 2;
	}
	for (size_t i = 0; i < n_corpus; i++)
		try_one(corpus[i].data, corpus[i].size);

	random_state = seed;
	for (run_number = 1; run_number <= runs; run_number++) {
		const struct input *from = &corpus[below(n_corpus)];
		size_t size = from->size;

		memcpy(buf, from->data, size);
		for (size_t i = 1 + below(6); i > 0; i--)
			size = mutate_once(buf, size);
		try_one(buf, size);
	}
	printf("%s: %zu inputs, %" PRIu64 " mutations, seed %" PRIu64 "\n", self, n_corpus, runs, seed);
	for (size_t i = 0; i < n_corpus; i++)
		free(corpus[i].data);
	return 0;
}
