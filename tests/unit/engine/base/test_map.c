#include "engine/base/map.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

/* The model is an array with one place for each of the possible keys. */
enum { KEYS = 300 };
struct model {
    char names[KEYS][8];
    void *values[KEYS];
    size_t count;
};

static struct slice key_of(const struct model *model, size_t i)
{
    return slice_str(model->names[i]);
}

static void check_against(const struct map *map, const struct model *model)
{
    ck_assert_uint_eq(map->count, model->count);
    bool seen[KEYS] = { false };
    size_t cursor = 0, found = 0;
    for (struct map_entry *entry; (entry = map_next(map, &cursor)) != NULL; found++) {
        size_t i = (size_t)(entry->key.ptr - model->names[0]) / sizeof model->names[0];
        ck_assert(i < KEYS && !seen[i]);
        seen[i] = true;
        ck_assert_ptr_eq(entry->value, model->values[i]);
    }
    ck_assert_uint_eq(found, model->count);
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_ptr_eq(map_get(map, key_of(model, i)), model->values[i]);
}

/* With few distinct keys and a small table, probe chains wrap round its end and merge all the time.
 */
START_TEST(any_course_of_puts_and_removes_equals_the_model)
{
    struct rng rng;
    rng_seed(&rng, test_seed("map"));
    struct model *model = mem_zalloc(sizeof *model);
    for (unsigned i = 0; i < KEYS; i++)
        snprintf(model->names[i], sizeof model->names[i], "k%u", i);
    for (unsigned round = 0; round < 20; round++) {
        struct map map;
        map_init(&map, rng_next(&rng));
        size_t keys = 1 + rng_below(&rng, KEYS);
        for (unsigned step = 0; step < 2000; step++) {
            size_t i = rng_below(&rng, keys);
            bool put = rng_below(&rng, 100) < (step / 500 % 2 ? 30 : 60);
            void *value = put ? (void *)(uintptr_t)(1 + rng_below(&rng, 1000)) : NULL;
            void *before =
                put ? map_put(&map, key_of(model, i), value) : map_remove(&map, key_of(model, i));
            ck_assert_ptr_eq(before, model->values[i]);
            model->count = model->count + (value != NULL) - (before != NULL);
            model->values[i] = value;
            if (step % 50 == 0)
                check_against(&map, model);
        }
        check_against(&map, model);
        map_free(&map);
        memset(model->values, 0, sizeof model->values);
        model->count = 0;
        check_against(&map, model);
    }
    free(model);
}
END_TEST

START_TEST(an_empty_map_needs_no_memory_and_finds_nothing)
{
    struct map map;
    map_init(&map, 1);
    ck_assert_ptr_null(map.entries);
    ck_assert_ptr_null(map_get(&map, SLICE("x")));
    ck_assert_ptr_null(map_remove(&map, SLICE("x")));
    size_t cursor = 0;
    ck_assert_ptr_null(map_next(&map, &cursor));
    map_free(&map);
}
END_TEST

START_TEST(the_empty_key_is_a_key)
{
    struct map map;
    map_init(&map, 1);
    int value;
    ck_assert_ptr_null(map_put(&map, SLICE(""), &value));
    ck_assert_ptr_eq(map_get(&map, SLICE("")), &value);
    ck_assert_ptr_eq(map_get(&map, (struct slice){ 0 }), &value);
    ck_assert_ptr_eq(map_remove(&map, SLICE("")), &value);
    map_free(&map);
}
END_TEST

START_TEST(keys_with_nul_bytes_differ_by_what_follows_them)
{
    struct map map;
    map_init(&map, 1);
    int one, two;
    map_put(&map, slice_of("a\0b", 3), &one);
    map_put(&map, slice_of("a\0c", 3), &two);
    ck_assert_ptr_eq(map_get(&map, slice_of("a\0b", 3)), &one);
    ck_assert_ptr_null(map_get(&map, SLICE("a")));
    map_free(&map);
}
END_TEST

START_TEST(replacing_takes_the_new_keys_memory)
{
    struct map map;
    map_init(&map, 1);
    int one, two;
    char *old = slice_dup(SLICE("key"));
    map_put(&map, slice_str(old), &one);
    ck_assert_ptr_eq(map_put(&map, SLICE("key"), &two), &one);
    free(old); /* ASan would see a look-up that still reads it */
    ck_assert_ptr_eq(map_get(&map, SLICE("key")), &two);
    ck_assert_uint_eq(map.count, 1);
    map_free(&map);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "map", any_course_of_puts_and_removes_equals_the_model,
        an_empty_map_needs_no_memory_and_finds_nothing, the_empty_key_is_a_key,
        keys_with_nul_bytes_differ_by_what_follows_them, replacing_takes_the_new_keys_memory));
}
