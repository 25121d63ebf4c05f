/* Runs calls of kernels that a file describes, on memory of its own, and writes the results to another.
 *
 * driver GIVEN FOUND fenced|malloc
 *
 * GIVEN, in words of 64 bits: the number of regions; of each its bytes, whether its contents follow, and whether
 * it is a result; the number of calls; of each the kernel, the number of words of its argument block, and of each
 * word its kind and two numbers. A fenced region ends where a page begins that nobody may touch; one from malloc
 * is exactly as long as it should be, and not initialised unless its contents are given: that is for valgrind.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef void kernel(int64_t *block);
extern kernel *const kernels[];

enum { NUMBER, ADDRESS, WORKSPACE, PARALLEL_FOR };

typedef struct {
    char *memory;
    int64_t bytes, is_result;
} region;

static FILE *given;

static void take(void *to, size_t bytes) {
    if (bytes && fread(to, bytes, 1, given) != 1) {
        fprintf(stderr, "the description ends too early\n");
        exit(2);
    }
}

static int64_t word(void) {
    int64_t value;
    take(&value, sizeof value);
    return value;
}

static char *fenced(int64_t bytes) {
    const int64_t page = 65536; /* the largest page of AArch64 */
    int64_t inside = (bytes + page - 1) / page * page;
    char *start = mmap(NULL, inside + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + inside, page, PROT_NONE)) {
        perror("mmap");
        exit(2);
    }
    memset(start, 0xA5, inside); /* no zeros that a kernel could take for its own */
    return start + inside - bytes;
}

/* In three parts, the last one first. */
static void parallel_for(
    void (*part)(void *, int64_t, int64_t, int64_t), void *closure, int64_t extent, int64_t most, double work) {
    int64_t first = extent / 3, second = extent - extent / 4;
    (void)most, (void)work;
    part(closure, second, extent, 0);
    part(closure, first, second, 0);
    part(closure, 0, first, 0);
}

int main(int count, char **arguments) {
    if (count != 4 || !(given = fopen(arguments[1], "rb"))) {
        fprintf(stderr, "usage: driver GIVEN FOUND fenced|malloc\n");
        return 2;
    }
    int is_fenced = !strcmp(arguments[3], "fenced");
    int64_t regions = word();
    region *all = malloc(sizeof(region) * (regions + 1));
    for (int64_t i = 0; i < regions; i++) {
        region *r = &all[i];
        r->bytes = word();
        int64_t is_given = word();
        r->is_result = word();
        r->memory = is_fenced ? fenced(r->bytes) : malloc(r->bytes);
        if (is_given) take(r->memory, r->bytes);
    }
    for (int64_t calls = word(); calls > 0; calls--) {
        int64_t number = word(), words = word();
        int64_t *block = malloc(8 * words);
        for (int64_t i = 0; i < words; i++) {
            int64_t kind = word(), value = word(), offset = word();
            char *memory = kind == ADDRESS || kind == WORKSPACE ? all[value].memory : NULL;
            switch (kind) {
            case NUMBER: block[i] = value; break;
            case ADDRESS: block[i] = (int64_t)(memory + offset); break;
            case WORKSPACE: block[i] = ((int64_t)memory + 63) / 64 * 64; break;
            case PARALLEL_FOR: block[i] = (int64_t)parallel_for; break;
            }
        }
        fprintf(stderr, "call of kernel %d\n", (int)number);
        kernels[number](block);
        free(block);
    }
    FILE *found = fopen(arguments[2], "wb");
    for (int64_t i = 0; i < regions; i++)
        if (all[i].is_result && all[i].bytes && fwrite(all[i].memory, all[i].bytes, 1, found) != 1) return 2;
    if (!found || fclose(found)) return 2;
    return 0;
}
