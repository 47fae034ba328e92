/* The only program of the emulated machine: runs /kernels, says how it ended, and switches off. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *const level[] = {"/kernels", "--exact", "level::child_sees_its_level", "--ignored",
                                    NULL};
/* There are no kernels for these at this level, and no memory or time for the first two. */
static const char *const kernels[] = {"/kernels", "--test-threads=1", "--skip", "large_memory", "--skip",
                                      "level::", "--skip", "crc32", "--skip", "json_escape", NULL};

static int run(const char *const *arguments)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        execv(arguments[0], (char *const *)arguments);
        perror(arguments[0]);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return status;
}

int main(void)
{
    const char *outcome = "FAILED";
    int console;

    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) != 0 ||
        mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) != 0 ||
        (console = open("/dev/ttyS0", O_RDWR | O_NOCTTY)) < 0)
        return 1;
    dup2(console, 0);
    dup2(console, 1);
    dup2(console, 2);
    /* First that this is the CPU that was asked for. */
    setenv("NEUROHTTP_TEST_EXPECTED_LEVEL", "avx512", 1);
    setenv("NEUROHTTP_TEST_THIN", THIN, 1);
    if (run(level) == 0 && run(kernels) == 0)
        outcome = "passed";
    printf("emulated kernel tests: %s\n", outcome);
    fflush(stdout);
    /* What the serial line has not sent yet would be lost with the power. */
    tcdrain(1);
    sleep(1);
    return reboot(RB_POWER_OFF);
}
