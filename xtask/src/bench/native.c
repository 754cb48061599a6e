/*
 * What a driver's mountdevice and mount cost when nothing is in the way: the acts and fsyncs of
 * ours in one program without a sandbox, a decision or a parser.
 *
 *   native mountdevice DEVICE TARGET RECORDS    DEVICE is a loop device with ext4
 *   native mount SOURCE TARGET RECORDS          SOURCE is where the device is mounted
 *
 * Both take a lock in the directory RECORDS and leave a durable record there before the mount
 * is attached to TARGET, the last act. System calls are named by number, because glibc has had
 * functions for them only since 2.36.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

/* Reads where superblocks and their like are: the first and the last pages. */
static void look(const char *device)
{
    static char block[8 << 10];
    int file = open(device, O_RDONLY | O_CLOEXEC);
    check(file >= 0, "open device");
    off_t size = lseek(file, 0, SEEK_END);
    check(size >= (off_t)sizeof block, "size of device");
    check(pread(file, block, sizeof block, 0) == sizeof block, "read device");
    check(block[0x438] == 0x53 && (unsigned char)block[0x439] == 0xef, "not ext4");
    check(pread(file, block, sizeof block, size - sizeof block) == sizeof block, "read device");
    close(file);
}

static void repair(const char *device)
{
    char *argv[] = {"e2fsck", "-p", (char *)device, NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status;

    check(!posix_spawn_file_actions_init(&files), "spawn");
    for (int fd = 0; fd < 3; fd++)
        check(!posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0), "spawn");
    check(!posix_spawn(&pid, "/sbin/e2fsck", &files, NULL, argv, envp), "spawn e2fsck");
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
    int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(lock >= 0 && !flock(lock, LOCK_EX), "lock");
    int target = open(argv[3], O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(target >= 0, "open target");

    int mount;
    if (!strcmp(argv[1], "mountdevice")) {
        look(argv[2]);
        repair(argv[2]);
        mount = mount_of_device(argv[2]);
        record(dir, "{\"v\":1,\"staged\":true}\n");
    } else {
        mount = bind_of(argv[2]);
        record(dir, "{\"v\":1,\"staged\":true,\"published\":1}\n");
    }
    check(!syscall(SYS_move_mount, mount, "", target, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
          "move_mount");
    puts("{\"status\":\"Success\"}");
    return 0;
}
