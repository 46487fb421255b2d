/*
 * Preloaded into an instance: writes down, in order, what the process does to its database files, so that a power cut
 * can be played afterwards. A write is noted before it is made, and a sync after it has returned; whatever was not
 * synced may then be lost, whole or in part. What the process sees is not changed.
 *
 * A record: kind (w write, t truncate, s sync, u unlink), file (1 database, 2 write-ahead log), two bytes of nothing,
 * length of what follows (u32), offset or new length (u64), all in the machine's byte order; then the bytes of a write.
 *
 * CUT_JOURNAL names the file to write to. With CUT_AFTER=N the process kills itself at its Nth record: a write that is
 * noted and not made, or a sync whose return it does not live to see.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536

struct record {
    uint8_t kind, file;
    uint16_t nothing;
    uint32_t length;
    uint64_t at;
};

static int journal = -1;
static long left = -1;
static unsigned char files[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CUT_JOURNAL");
    if (getenv("CUT_AFTER"))
        left = atol(getenv("CUT_AFTER"));
    if (path)
        journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static unsigned char file_of(const char *path) {
    size_t length = path ? strlen(path) : 0;
    const char db[] = "instance.db", wal[] = "instance.db-wal";
    if (length >= sizeof wal - 1 && strcmp(path + length - (sizeof wal - 1), wal) == 0)
        return 2;
    if (length >= sizeof db - 1 && strcmp(path + length - (sizeof db - 1), db) == 0)
        return 1;
    return 0;
}

static unsigned char of(int fd) { return fd >= 0 && fd < FDS ? files[fd] : 0; }

static void note(uint8_t kind, uint8_t file, uint64_t at, const void *bytes, size_t length) {
    struct record record = {kind, file, 0, (uint32_t)length, at};
    struct iovec parts[2] = {{&record, sizeof record}, {(void *)bytes, length}};
    if (journal < 0)
        return;
    pthread_mutex_lock(&lock);
    if (left > 0 && --left == 0) {
        /* The return of a sync is not seen, so that it may as well not have happened. */
        if (kind != 's')
            syscall(SYS_writev, journal, parts, length ? 2 : 1);
        kill(getpid(), SIGKILL);
    }
    /* A journal that cannot be written must not go unnoticed. */
    if (syscall(SYS_writev, journal, parts, length ? 2 : 1) != (long)(sizeof record + length))
        abort();
    pthread_mutex_unlock(&lock);
}

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < FDS)
        files[fd] = file_of(path);
    return fd;
}

#define MODE(flags, last)                                  \
    ({                                                     \
        mode_t mode_ = 0;                                  \
        if ((flags) & (O_CREAT | O_TMPFILE)) {             \
            va_list list_;                                 \
            va_start(list_, last);                         \
            mode_ = (mode_t)va_arg(list_, int);            \
            va_end(list_);                                 \
        }                                                  \
        mode_;                                             \
    })

int open(const char *path, int flags, ...) {
    mode_t mode = MODE(flags, flags);
    return opened((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = MODE(flags, flags);
    return opened((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path);
}

int openat(int folder, const char *path, int flags, ...) {
    mode_t mode = MODE(flags, flags);
    return opened((int)syscall(SYS_openat, folder, path, flags, mode), path);
}

int openat64(int folder, const char *path, int flags, ...) {
    mode_t mode = MODE(flags, flags);
    return opened((int)syscall(SYS_openat, folder, path, flags, mode), path);
}

int close(int fd) {
    if (fd >= 0 && fd < FDS)
        files[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (of(fd))
        note('w', of(fd), (uint64_t)lseek(fd, 0, SEEK_CUR), bytes, length);
    return syscall(SYS_write, fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    if (of(fd))
        note('w', of(fd), (uint64_t)at, bytes, length);
    return syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

int ftruncate64(int fd, off64_t length) {
    if (of(fd))
        note('t', of(fd), (uint64_t)length, NULL, 0);
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fsync(int fd) {
    int done = (int)syscall(SYS_fsync, fd);
    if (done == 0 && of(fd))
        note('s', of(fd), 0, NULL, 0);
    return done;
}

int fdatasync(int fd) {
    int done = (int)syscall(SYS_fdatasync, fd);
    if (done == 0 && of(fd))
        note('s', of(fd), 0, NULL, 0);
    return done;
}

int unlink(const char *path) {
    unsigned char file = file_of(path);
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0 && file)
        note('u', file, 0, NULL, 0);
    return done;
}
