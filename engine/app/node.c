#include "engine/app/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/rng.h"
#include "engine/base/slice.h"

static bool make_directories(const char *path, struct err *err)
{
    char partial[PATH_MAX];
    if ((size_t)snprintf(partial, sizeof partial, "%s", path) >= sizeof partial)
        return err_set(err, ERR_CONFIG, "state_dir '%s' is too long", path);
    for (char *at = partial + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char was = *at;
        *at = '\0';
        if (mkdir(partial, 0700) != 0 && errno != EEXIST)
            return err_system(err, errno, "state_dir: can't create '%s'", partial);
        if (was == '\0')
            return true;
        *at = was;
    }
}

static bool id_valid(struct slice id)
{
    if (id.len == 0 || id.len > NODE_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

static bool node_id_make(const char *path, char id[NODE_ID_MAX + 1], struct err *err)
{
    snprintf(id, NODE_ID_MAX + 1, "n%016llx", (unsigned long long)rng_system_seed());
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
        return err_set(err, ERR_CONFIG, "state_dir is too long");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_system(err, errno, "can't create '%s'", temporary);
    bool ok = write(fd, id, strlen(id)) == (ssize_t)strlen(id) && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    if (!ok || rename(temporary, path) != 0)
        return err_system(err, errno, "can't write '%s'", path);
    return true;
}

bool node_open(const char *state_dir, char id[NODE_ID_MAX + 1], struct err *err)
{
    char path[PATH_MAX], text[128];
    if (!make_directories(state_dir, err))
        return false;
    if ((size_t)snprintf(path, sizeof path, "%s/node-id", state_dir) >= sizeof path)
        return err_set(err, ERR_CONFIG, "state_dir '%s' is too long", state_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return node_id_make(path, id, err);
        return err_system(err, errno, "can't read '%s'", path);
    }
    ssize_t len = read(fd, text, sizeof text);
    close(fd);
    struct slice found = slice_trim(slice_of(text, len > 0 ? (size_t)len : 0));
    if (!id_valid(found))
        return err_set(err, ERR_CONFIG, "'%s' doesn't hold a node id; delete it to get a new one",
                       path);
    snprintf(id, NODE_ID_MAX + 1, "%.*s", SLICE_FMT(found));
    return true;
}
