#include "engine/base/list.h"

#include "tests/support/check_main.h"

struct item {
    int number;
    struct list node;
};

static void check_order(struct list *head, const int *numbers, size_t count)
{
    size_t at = 0;
    list_for_each (it, head) {
        ck_assert_uint_lt(at, count);
        ck_assert_int_eq(LIST_ENTRY(it, struct item, node)->number, numbers[at++]);
        ck_assert_ptr_eq(it->next->prev, it);
    }
    ck_assert_uint_eq(at, count);
}

static void setup(struct list *head, struct item *items, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].number = i;
        list_init(&items[i].node);
        list_push_back(head, &items[i].node);
    }
}

START_TEST(both_ends_take_nodes)
{
    struct list head;
    struct item items[3];
    setup(&head, items, 2);
    items[2].number = 2;
    list_push_front(&head, &items[2].node);
    check_order(&head, (int[]){ 2, 0, 1 }, 3);
}
END_TEST

START_TEST(a_removed_node_is_unlinked_and_may_be_removed_again)
{
    struct list head;
    struct item items[3];
    setup(&head, items, 3);
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    ck_assert(!list_linked(&items[1].node) && list_linked(&items[0].node));
    check_order(&head, (int[]){ 0, 2 }, 2);
}
END_TEST

START_TEST(popping_empties_the_list_from_the_front)
{
    struct list head;
    struct item items[2];
    setup(&head, items, 2);
    ck_assert_ptr_eq(list_pop_front(&head), &items[0].node);
    ck_assert_ptr_eq(list_pop_front(&head), &items[1].node);
    ck_assert_ptr_null(list_pop_front(&head));
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(the_safe_loop_survives_removal_of_the_node_at_hand)
{
    struct list head;
    struct item items[5];
    setup(&head, items, 5);
    list_for_each_safe (it, &head) {
        if (LIST_ENTRY(it, struct item, node)->number % 2 == 0)
            list_remove(it);
    }
    check_order(&head, (int[]){ 1, 3 }, 2);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("list", both_ends_take_nodes,
                               a_removed_node_is_unlinked_and_may_be_removed_again,
                               popping_empties_the_list_from_the_front,
                               the_safe_loop_survives_removal_of_the_node_at_hand));
}
