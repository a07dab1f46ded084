/* Room for sessions: a worker has at most `sessions_max`. A site that wants one more when all are
 * taken stands in line, and for each in line one idle session ends: without that, the sessions that
 * are kept open for destinations with nothing left would shut out those with mail, until their idle
 * time is over.
 *
 * Sites with transactional mail stand in front. Who is woken and doesn't take the room that is left
 * wakes the next one (site_drain() ends with room_offer()).
 */
#include "engine/deliver/internal.h"

#define RESERVED_SHARE 10 /* one session in so many is for transactional mail */
#define IDLE_LOOKED_AT 16

bool room_left(const struct deliver *deliver, enum queue_class class)
{
    unsigned max = deliver->options.sessions_max;
    return deliver->peers < (class == QUEUE_TRANSACTIONAL ? max : max - max / RESERVED_SHARE);
}

static bool site_waits_for_transactional(const struct site *site)
{
    return !list_empty(&site->ready[QUEUE_TRANSACTIONAL]);
}

static void peer_evict(struct peer *peer)
{
    peer->evicted = true;
    peer->site->deliver->evicted++;
    peer_quit(peer);
}

/* Ends the session that has been idle longest, of a site with nothing to send. */
static void evict_one(struct deliver *deliver)
{
    unsigned looked = 0;
    list_for_each (it, &deliver->idle) {
        struct peer *peer = LIST_ENTRY(it, struct peer, idle_node);
        if (!site_has_ready(peer->site)) {
            peer_evict(peer);
            return;
        }
        if (++looked == IDLE_LOOKED_AT)
            return;
    }
}

void room_await(struct site *site, bool wanted)
{
    struct deliver *deliver = site->deliver;
    bool waits = list_linked(&site->crowded_node);
    if (waits && !wanted) {
        list_remove(&site->crowded_node);
        deliver->crowded_count--;
    } else if (wanted && !waits) {
        if (site_waits_for_transactional(site))
            list_push_front(&deliver->crowded, &site->crowded_node);
        else
            list_push_back(&deliver->crowded, &site->crowded_node);
        deliver->crowded_count++;
        if (deliver->evicted < deliver->crowded_count)
            evict_one(deliver);
    }
}

void room_offer(struct deliver *deliver)
{
    if (list_empty(&deliver->crowded))
        return;
    struct site *site = LIST_ENTRY(deliver->crowded.next, struct site, crowded_node);
    if (!room_left(deliver, site_waits_for_transactional(site) ? QUEUE_TRANSACTIONAL : QUEUE_BULK))
        return;
    room_await(site, false);
    site_drain_soon(site);
}

bool room_yield(struct peer *peer)
{
    struct deliver *deliver = peer->site->deliver;
    if (deliver->evicted >= deliver->crowded_count || site_has_ready(peer->site))
        return false;
    peer_evict(peer);
    return true;
}
