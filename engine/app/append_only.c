#include "engine/app/append_only.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Nothing in here may allocate or lock: see append_only_mend(). */

enum { PATH_BYTES = 4096, MANIFEST_BYTES = 16384, READ_BYTES = 65536, WORD_BYTES = 5 };

enum place { AT_COMMAND, IN_COUNT, AT_ARGUMENT, IN_LENGTH, IN_BYTES, BROKEN };

/** Where a scan of commands stands: "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n". */
struct scan {
    enum place place;
    long at;     /* bytes seen */
    long good;   /* end of the last whole command or transaction */
    long number; /* the one being read */
    long arguments, left;
    bool first, in_transaction;
    char word[WORD_BYTES + 1]; /* the first argument's beginning */
    int word_len;
};

static void command_ends(struct scan *scan)
{
    scan->place = AT_COMMAND;
    if (strcasecmp(scan->word, "MULTI") == 0)
        scan->in_transaction = true;
    else if (strcasecmp(scan->word, "EXEC") == 0)
        scan->in_transaction = false;
    if (!scan->in_transaction)
        scan->good = scan->at;
}

/* A number's line has ended. */
static void number_ends(struct scan *scan)
{
    if (scan->place == IN_COUNT) {
        scan->arguments = scan->number;
        scan->first = true;
        scan->word_len = 0;
        memset(scan->word, 0, sizeof scan->word);
        scan->place = scan->number > 0 ? AT_ARGUMENT : BROKEN;
    } else {
        scan->left = scan->number + 2;
        scan->place = IN_BYTES;
    }
    scan->number = 0;
}

static void byte_of_head(struct scan *scan, char c)
{
    scan->at++;
    switch (scan->place) {
    case AT_COMMAND:
        scan->place = c == '*' ? IN_COUNT : BROKEN;
        return;
    case AT_ARGUMENT:
        scan->place = c == '$' ? IN_LENGTH : BROKEN;
        return;
    case IN_COUNT:
    case IN_LENGTH:
        if (c >= '0' && c <= '9' && scan->number < 1L << 40)
            scan->number = scan->number * 10 + (c - '0');
        else if (c == '\n')
            number_ends(scan);
        else if (c != '\r')
            scan->place = BROKEN;
        return;
    case IN_BYTES:
    case BROKEN:
        return;
    }
}

static void take_word(struct scan *scan, const char *bytes, long n)
{
    for (long i = 0; i < n && scan->left - i > 2; i++) {
        if (scan->word_len < WORD_BYTES)
            scan->word[scan->word_len] = bytes[i];
        else
            scan->word[0] = '\0'; /* longer than either */
        scan->word_len++;
    }
}

static void scan_bytes(struct scan *scan, const char *bytes, long count)
{
    long i = 0;
    while (i < count && scan->place != BROKEN) {
        if (scan->place != IN_BYTES) {
            byte_of_head(scan, bytes[i++]);
            continue;
        }
        long n = count - i < scan->left ? count - i : scan->left;
        if (scan->first)
            take_word(scan, bytes + i, n);
        scan->left -= n;
        scan->at += n;
        i += n;
        if (scan->left > 0)
            continue;
        scan->first = false;
        scan->place = AT_ARGUMENT;
        if (--scan->arguments == 0)
            command_ends(scan);
    }
}

static long mend_file(const char *path)
{
    char bytes[READ_BYTES];
    struct scan scan = { .place = AT_COMMAND };
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n;
    do {
        n = read(fd, bytes, sizeof bytes);
        if (n > 0)
            scan_bytes(&scan, bytes, n);
    } while ((n > 0 && scan.place != BROKEN) || (n < 0 && errno == EINTR));
    /* What isn't commands is Redis' to judge. */
    long cut = n == 0 && scan.place != BROKEN ? scan.at - scan.good : 0;
    if (cut > 0 && (ftruncate(fd, scan.good) != 0 || fsync(fd) != 0))
        cut = 0;
    close(fd);
    return cut;
}

/* The manifest has lines such as "file appendonly.aof.2.incr.aof seq 2 type i"; the last one of
 * type i is the file being written. Its name is in `out` then. */
static bool last_file(const char *manifest, char *out, size_t room)
{
    char text[MANIFEST_BYTES];
    int fd = open(manifest, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return false;
    text[len] = '\0';
    bool found = false;
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        size_t name_len = strncmp(line, "file ", 5) == 0 ? strcspn(line + 5, " ") : 0;
        if (name_len == 0 || name_len >= room || !strstr(line, " type i") || line[5] == '"')
            continue;
        memcpy(out, line + 5, name_len);
        out[name_len] = '\0';
        found = true;
    }
    return found;
}

static bool join(char *out, const char *directory, const char *name)
{
    static const char folder[] = "/appendonlydir/";
    size_t a = strlen(directory), b = strlen(name);
    if (a + sizeof folder + b > PATH_BYTES)
        return false;
    memcpy(out, directory, a);
    memcpy(out + a, folder, sizeof folder - 1);
    memcpy(out + a + sizeof folder - 1, name, b + 1);
    return true;
}

long append_only_mend(const char *directory)
{
    char path[PATH_BYTES], name[256];
    if (!join(path, directory, "appendonly.aof.manifest") || !last_file(path, name, sizeof name) ||
        !join(path, directory, name))
        return 0;
    return mend_file(path);
}
