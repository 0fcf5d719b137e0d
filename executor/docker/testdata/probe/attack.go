package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attacks are by name; each returns how much of it worked and what it saw.
var attacks = map[string]func(arg string) (int64, string, error){
	"write":   write,
	"remount": remount,
	"bind":    bind,
	"mknod":   mknod,
	"open":    open,
	"read":    read,
	"fill":    fill,
	"inodes":  inodes,
	"suid":    suid,
	"setuid":  func(string) (int64, string, error) { return 0, "", syscall.Setuid(0) },
	"clock":   clock,
	"core":    core,
	"fork":    fork,
	"zombies": zombies,
	"dial":    dial,
	"resolve": resolve,
	"userns":  userns,
	"raw":     raw,
	"sleep":   sleep,
	"attach":  attach,
}

// sleep is for attacks that shall not come first.
func sleep(arg string) (int64, string, error) {
	d, err := time.ParseDuration(arg)
	time.Sleep(d)
	return 0, "", err
}

// attach traces a process for a moment, as a debugger does.
func attach(pid string) (int64, string, error) {
	runtime.LockOSThread()
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.PtraceAttach(n)
	}
	if err != nil {
		return 0, "", err
	}
	_, _ = syscall.Wait4(n, nil, syscall.WALL, nil)
	return 1, "", syscall.PtraceDetach(n)
}

// write appends nothing to an existing file or makes an empty one.
func write(path string) (int64, string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return 0, "", err
	}
	return 1, "", f.Close()
}

func remount(path string) (int64, string, error) {
	return 0, "", syscall.Mount("none", path, "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
}

func bind(path string) (int64, string, error) {
	return 0, "", syscall.Mount("/tmp", path, "", syscall.MS_BIND, "")
}

// mknod makes the block device of a disk: 254:0 and 8:0 are usual numbers,
// but the making alone is what must not work.
func mknod(path string) (int64, string, error) {
	return 0, "", syscall.Mknod(path, syscall.S_IFBLK|0o666, 254<<8)
}

func open(path string) (int64, string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, "", err
	}
	return 1, "", f.Close()
}

// read counts the first bytes of a file or the entries of a directory.
func read(path string) (int64, string, error) {
	if entries, err := os.ReadDir(path); err == nil {
		return int64(len(entries)), "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	return int64(len(b)), "", err
}

// fill writes until the file system is full, at most the given bytes.
func fill(arg string) (int64, string, error) {
	path, max := number(arg)
	f, err := os.Create(path)
	if err != nil {
		return 0, "", err
	}
	defer os.Remove(path)
	defer f.Close()
	var done int64
	for b := make([]byte, 64<<10); done < max; {
		n, err := f.Write(b)
		done += int64(n)
		if err != nil {
			return done, "", err
		}
	}
	return done, "", nil
}

// inodes makes empty files until there can be no more.
func inodes(arg string) (int64, string, error) {
	dir, max := number(arg)
	dir = filepath.Join(dir, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, "", err
	}
	defer os.RemoveAll(dir)
	for i := range max {
		f, err := os.Create(filepath.Join(dir, strconv.FormatInt(i, 36)))
		if err != nil {
			return i, "", err
		}
		f.Close()
	}
	return max, "", nil
}

func number(arg string) (string, int64) {
	path, n, _ := strings.Cut(arg, ",")
	max, _ := strconv.ParseInt(n, 10, 64)
	return path, max
}

// suid runs a copy of the probe that belongs to root and is setuid.
func suid(path string) (int64, string, error) {
	out, err := exec.Command(path, "euid").CombinedOutput()
	return 0, string(out), err
}

// clock sets the clock to what it is.
func clock(string) (int64, string, error) {
	var tv syscall.Timeval
	if err := syscall.Gettimeofday(&tv); err != nil {
		return 0, "", err
	}
	return 0, "", syscall.Settimeofday(&tv)
}

// core lets a child dump core in dir and counts the dumps.
func core(dir string) (int64, string, error) {
	cmd := exec.Command("/proc/self/exe", "abort")
	cmd.Dir, cmd.Env = dir, []string{"GOTRACEBACK=crash"}
	_ = cmd.Run()
	found, err := filepath.Glob(filepath.Join(dir, "*core*"))
	return int64(len(found)), cmd.ProcessState.String(), err
}

func abort() { panic("dump core") }

// dial counts the addresses, joined by commas, that accept a connection.
func dial(arg string) (n int64, text string, err error) {
	for addr := range strings.SplitSeq(arg, ",") {
		network := "tcp"
		if strings.HasPrefix(addr, "/@") {
			// "/@name" is an abstract socket, which lies in no directory.
			network, addr = "unix", addr[1:]
		}
		c, e := net.DialTimeout(network, addr, 2*time.Second)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		c.Close()
		n, text = n+1, text+addr+" "
	}
	return n, text, err
}

// listen accepts connections for ever, on the port that its argument names.
func listen() {
	l, err := net.Listen("tcp", ":"+os.Args[2])
	if err != nil {
		fail(err)
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			fail(err)
		}
		c.Close()
	}
}

// raw asks for a socket that sends frames as they are: "packet" for frames of
// the link, "inet" for datagrams with headers of one's own.
func raw(kind string) (int64, string, error) {
	family, protocol := syscall.AF_PACKET, 0x0300 // ETH_P_ALL in network order
	if kind == "inet" {
		family, protocol = syscall.AF_INET, syscall.IPPROTO_ICMP
	}
	fd, err := syscall.Socket(family, syscall.SOCK_RAW, protocol)
	if err != nil {
		return 0, "", err
	}
	return 1, "", syscall.Close(fd)
}

func resolve(name string) (int64, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	return int64(len(addrs)), fmt.Sprint(addrs), err
}

// userns asks for a user namespace, in which a process would be root again.
func userns(string) (int64, string, error) {
	cmd := exec.Command("/proc/self/exe", "euid")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	return 0, string(out), err
}
