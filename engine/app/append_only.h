#pragma once
/* Mends the append-only file of a Redis that was killed in the middle of a write.
 *
 * When such a file ends within a command within a transaction, Redis 7.0 cuts off the command but
 * leaves the transaction's beginning in the file, goes on writing behind it, and at its next start
 * runs what was left over along with the transaction that follows: half of a script's effects, a
 * second time. So the beginning has to go before Redis sees it. */

/** For the data directory of a Redis that doesn't run: cuts its last file back to the end of the
 * last whole command or transaction. Returns the bytes that were cut off; 0 if there's nothing to
 * mend, or nothing that could be read. Safe between fork() and exec(). */
long append_only_mend(const char *directory);
