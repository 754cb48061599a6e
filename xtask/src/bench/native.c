/*
 * What a driver's mountdevice and mount cost when nothing is in the way: the acts and fsyncs of
 * ours in one program without a sandbox, a decision or a parser.
 *
 *   native mountdevice DEVICE TARGET RECORDS    DEVICE is a loop device with ext4
 *   native mount SOURCE TARGET RECORDS          SOURCE is where the device is mounted
 *
 * Both take a lock in the directory RECORDS, read what is remembered there, and leave a durable
 * record and a line in a log before the mount is attached to TARGET, the last act. System calls
 * are named by number, because glibc has had functions for them only since 2.36.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

static void check(int ok, const char *what)
{
    if (ok)
        return;
    printf("{\"status\":\"Failure\",\"message\":\"%s\"}\n", what);
    exit(1);
}

/* Replaces the record: the new one is whole and on disk before it has the name. */
static void record(int dir, const char *text)
{
    size_t size = strlen(text);
    int file = openat(dir, "record.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(file >= 0, "open record");
    check(write(file, text, size) == (ssize_t)size, "write record");
    check(!fsync(file), "fsync record");
    check(!close(file), "close record");
    check(!renameat(dir, "record.new", dir, "record"), "rename record");
    check(!fsync(dir), "fsync records");
}

static void lock(int dir)
{
    char note[32];
    int file = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(file >= 0 && !flock(file, LOCK_EX), "lock");
    int size = snprintf(note, sizeof note, "%d mountdevice\n", getpid());
    check(pwrite(file, note, size, 0) == size, "note who has the lock");
}

/* What was mounted is true only of this boot. */
static void recall(int dir)
{
    static char text[4096];
    int record = openat(dir, "record", O_RDONLY | O_CLOEXEC);
    if (record >= 0)
        check(read(record, text, sizeof text) > 0, "read record");
    int boot = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    check(boot >= 0 && read(boot, text, sizeof text) > 0, "read boot id");
    close(record);
    close(boot);
}

/* Appends to the log, whose last line has to be whole. */
static void note(int dir, const char *line)
{
    static char tail[2048];
    struct stat found;
    ssize_t size = strlen(line);
    int file = openat(dir, "log", O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    check(file >= 0 && !flock(file, LOCK_EX) && !fstat(file, &found), "open log");
    off_t from = found.st_size > (off_t)sizeof tail ? found.st_size - (off_t)sizeof tail : 0;
    ssize_t length = pread(file, tail, sizeof tail, from);
    check(length == 0 || (length > 0 && tail[length - 1] == '\n'), "read log");
    check(write(file, line, size) == size, "write log");
    close(file);
}

/* The device that it was, as large as its image, and nothing of it in memory from before. */
static int open_device(const char *device)
{
    struct loop_info64 info;
    int file = open(device, O_RDONLY | O_CLOEXEC);
    check(file >= 0, "open device");
    check(!ioctl(file, LOOP_GET_STATUS64, &info), "status of device");
    check(!ioctl(file, LOOP_SET_CAPACITY, 0), "refresh device");
    check(!ioctl(file, BLKFLSBUF, 0), "flush device");
    return file;
}

/* Sees to it that there is ext4, and that nobody else has it. */
static void look(const char *device, int file)
{
    static char start[20 << 10];
    struct loop_info64 info;
    check(!ioctl(file, LOOP_GET_STATUS64, &info), "status of device");
    check(pread(file, start, sizeof start, 0) == sizeof start, "read device");
    check(start[0x438] == 0x53 && (unsigned char)start[0x439] == 0xef, "not ext4");
    int alone = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
    check(alone >= 0, "device in use");
    close(alone);
}

/* Whoever runs a checker wants to know what it says. */
static void repair(const char *device)
{
    static char words[4096];
    char *argv[] = {"e2fsck", "-p", (char *)device, NULL};
    char *envp[] = {"LC_ALL=C", NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status, ends[2];

    check(!pipe2(ends, O_CLOEXEC), "pipe");
    check(!posix_spawn_file_actions_init(&files), "spawn");
    check(!posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0), "spawn");
    for (int fd = 1; fd < 3; fd++)
        check(!posix_spawn_file_actions_adddup2(&files, ends[1], fd), "spawn");
    check(!posix_spawn(&pid, "/sbin/e2fsck", &files, NULL, argv, envp), "spawn e2fsck");
    close(ends[1]);
    while (read(ends[0], words, sizeof words) > 0)
        ;
    check(waitpid(pid, &status, 0) == pid, "wait for e2fsck");
    check(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "e2fsck");
}

static int mount_of_device(const char *device)
{
    int fs = syscall(SYS_fsopen, "ext4", FSOPEN_CLOEXEC);
    check(fs >= 0, "fsopen");
    check(!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", device, 0), "source");
    check(!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "errors", "remount-ro", 0), "errors");
    check(!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "create");
    int mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    check(mount >= 0, "fsmount");
    return mount;
}

static int bind_of(const char *source)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    int mount = syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC);
    check(mount >= 0, "open_tree");
    check(!syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes),
          "mount_setattr");
    return mount;
}

int main(int argc, char **argv)
{
    check(argc == 5, "usage");
    int dir = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(dir >= 0, "open records");
    lock(dir);
    recall(dir);
    int target = open(argv[3], O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(target >= 0, "open target");

    int mount;
    if (!strcmp(argv[1], "mountdevice")) {
        int device = open_device(argv[2]);
        look(argv[2], device);
        repair(argv[2]);
        look(argv[2], device);
        mount = mount_of_device(argv[2]);
        record(dir, "{\"v\":1,\"staged\":true}\n");
    } else {
        mount = bind_of(argv[2]);
        record(dir, "{\"v\":1,\"staged\":true,\"published\":1}\n");
    }
    note(dir, "{\"v\":1,\"kind\":\"call\"}\n");
    check(!syscall(SYS_move_mount, mount, "", target, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
          "move_mount");
    puts("{\"status\":\"Success\"}");
    return 0;
}
