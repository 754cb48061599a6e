/*
 * resident PROGRAM ARG...: runs the program and prints the largest resident size, in KiB, that
 * any process of it has had. It is small itself, because a process inherits the size of the one
 * that forked it, and it adopts orphans, because not every process waits for its children.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long largest = 0;
    int status, failed = 0;
    struct rusage usage;

    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return 2;
    pid_t first = fork();
    if (first < 0)
        return 2;
    if (first == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
            _exit(127);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    for (pid_t pid; (pid = wait4(-1, &status, 0, &usage)) > 0;) {
        if (usage.ru_maxrss > largest)
            largest = usage.ru_maxrss;
        if (pid == first && (!WIFEXITED(status) || WEXITSTATUS(status)))
            failed = 1;
    }
    printf("%ld\n", largest);
    return failed;
}
