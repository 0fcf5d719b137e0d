package main

import (
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/wire"
)

// settings is what the node and the command line go by. A new one is a field
// here and a line in table.
type settings struct {
	Path, API, TokenFile  string
	CPU                   jobspec.CPU
	Memory, Disk          jobspec.Bytes
	HostBusy              int
	Listen, Docker, Guest string
	IPFS                  string
	Runtime               string
	StrictRuntime         string
	CgroupParent          string
	NetworkAllowPrivate   networks
	NetworkBytes          jobspec.Bytes
	CAFile                string
	Registries            []string
	ImageSize             jobspec.Bytes
	Gateways              []string
	FetchWait             jobspec.Duration
	Index                 string
	InputBytes            jobspec.Bytes
	InputEntries          int
	DatasetEntries        int
	MinFree, StorageMax   jobspec.Bytes
	GCPeriod              jobspec.Duration
	GCWatermark           int
	DoorListen            string
	DoorAnnounce          []string
	P2PListen             string
	P2PAnnounce           []string
	P2PLAN                bool
	RelayBytes            jobspec.Bytes
	RelayTime             jobspec.Duration
	Labels                []string
	Bus                   busKind
	Broker, BrokerListen  string
	BrokerPasswordFile    string
	BrokerCA              string
	BrokerCert, BrokerKey string
	Outlets               string
	OutletPause           jobspec.Duration
	LogLevel              slog.Level
	LogFormat             logFormat
	LogFile               string
	LogSize               jobspec.Bytes
	LogFiles              int

	APIMaxConns                          int
	APIRate                              float64
	APIUpload                            jobspec.Bytes
	APIBodyStall, APIEventStall          jobspec.Duration
	APIUploadTime                        jobspec.Duration
	APIStreamStall, APITimeout, APIGrace jobspec.Duration

	TaskCPU                          jobspec.CPU
	TaskMemory, TaskDisk             jobspec.Bytes
	TaskRun                          jobspec.Duration
	TaskPids, TaskNoFile, TaskFiles  int
	TaskTmp, TaskShm, TaskLog        jobspec.Bytes
	TenantJobs, TenantSchedules      int
	CronInterval                     jobspec.Duration
	InputCache                       jobspec.Bytes
	InputLevels, InputBlocks         int
	InputTime, SweepEvery, StopGrace jobspec.Duration
	Lease, Repair, Orphans, WorkKept jobspec.Duration
	GangArrive                       jobspec.Duration
	EngineWait                       jobspec.Duration

	origins map[string]string // by key: where the value is from
}

// table is every setting with its reason, in the order in which it is shown.
// [knob] says what the columns are.
func (s *settings) table() []knob {
	return []knob{
		{"path", &s.Path, defaultPath(), "", "directory", everywhere, "state directory of the node", "the XDG place for state; one node per directory"},
		{"api", &s.API, "", "the node of path", "URL", everywhere, "address of another node's API: http://127.0.0.1:PORT or unix:///PATH", "file permissions are the login of a socket, so the own node needs no token"},
		{"token-file", &s.TokenFile, "", "none", "file", everywhere, "file with the token for --api", "a secret on a command line or in a setting is seen by others"},

		{"cpu", &s.CPU, "", "all", "processors", start, "processors that jobs may use together", "the kernel shares a busy machine fairly; give less to keep some for others"},
		{"memory", &s.Memory, "", "80 % of the machine's", "bytes", start, "memory that jobs may use together", "leaves the host and its IPFS node a fifth; memory cannot be shared by turns"},
		{"disk", &s.Disk, "", "80 % of what is free", "bytes", start, "disk that running jobs' outputs may use together", "outputs are stored once more as blocks before they are removed"},
		{"host-busy", &s.HostBusy, "80", "", "percent", start, "part of all processors that other programs may use before jobs step back: one task at a time runs then, and where memory is short; above 100: they never do", "jobs have little weight beside other programs, but their memory, files and caches are felt"},
		{"listen", &s.Listen, "127.0.0.1:0", "", "address", start, "TCP address of the API on the loopback interface", "port 0 is chosen at the first start and kept, so that nodes share a machine"},
		{"docker", &s.Docker, "", "unix:///var/run/docker.sock", "URL", start, "address of the Docker Engine", "where the engine's packages put it; DOCKER_HOST is heeded as well"},
		{"ipfs", &s.IPFS, "", "the node inside ipdc", "multiaddr or URL", start, "a Kubo that runs already, to keep blocks in: /ip4/127.0.0.1/tcp/5001", "the node inside needs no second program; a Kubo shares what it has with its other users"},
		{"guest", &s.Guest, "", "beside ipdc", "file", start, "the ipdc-guest binary", "make and packages put both programs into one directory"},
		{"runtime", &s.Runtime, "", "the engine's default", "name", start, "OCI runtime of jobs by its name in the engine, such as runsc", "runc is in every engine; gVisor's runsc puts a kernel of its own around a job"},
		{"strict-runtime", &s.StrictRuntime, "runsc", "", "name", start, "OCI runtime of jobs with isolation strict, by its name in the engine: gVisor's runsc, or one of Kata Containers", "runsc needs no virtualisation and starts in a quarter of a second; Kata's kernel is a real one, behind the processor's own wall"},
		{"cgroup-parent", &s.CgroupParent, "", "one of the node's own, bounded by cpu and memory", "control group", start, "control group that all containers lie in: a path such as /jobs, or jobs.slice where the engine uses systemd; its bounds are yours", "jobs together must not starve the host, whatever each of them may have"},
		{"network-allow-private", &s.NetworkAllowPrivate, "", "none", "networks", start, "private networks, such as 10.1.0.0/16, that jobs may be granted hosts of", "what listens there trusts its neighbours, and a job is a stranger's program"},
		{"network-bytes", &s.NetworkBytes, "10GiB", "", "bytes", inFile, "what one container may move over the network, both ways together", "as much as the largest input"},
		{"ca-file", &s.CAFile, "", "SSL_CERT_FILE, else the system's", "file", start, "certificate authorities that jobs with a network are shown", "behind a site's own proxy an image's authorities do not do"},
		{"registries", &s.Registries, "docker.io,ghcr.io,quay.io", "", "hosts", start, "registries that images are pulled from, host or host:port", "the three large public ones; what a job names must not lead the node into its own network"},
		{"image-size", &s.ImageSize, "8GiB", "", "bytes", start, "largest image that is pulled or loaded, packed and unpacked", "room for most machine learning images, not for a bomb"},

		{"gateway", &s.Gateways, "", "none", "URLs", start, "trustless gateway to fetch public data from; may be repeated, the first is asked first", "a node asks nobody for anything unless told to; every block is verified"},
		{"fetch-wait", &s.FetchWait, "30s", "", "time", inFile, "how long a fetch goes on without a new block before it is given up", "a gateway that looks for a block elsewhere takes up to 20 s; a wrong CID should not take minutes to show"},
		{"index", &s.Index, "", pip.DefaultIndex, "URL", start, "Python package index that -r installs from", "the public one; PIP_INDEX_URL is heeded as well, user names and passwords enter no record"},
		{"input-bytes", &s.InputBytes, "10GiB", "", "bytes", start, "largest input of a job, and largest DAG that is fetched for one", "it is written to disk before the job starts; a mistyped CID should not fill it"},
		{"input-entries", &s.InputEntries, "100000", "", "entries", start, "most files and directories of an input", "each takes a file on disk and 1 KB of the node's memory; a million is fine where there are so many inodes"},
		{"dataset-entries", &s.DatasetEntries, "1000000", "", "entries", start, "most files and directories of an input that is split", "each takes 1 KB of the node's memory while it is split; input-entries holds for each part"},
		{"input-levels", &s.InputLevels, "64", "", "levels", inFile, "directories within directories", "people stay below 20; paths stay below what programs can open"},
		{"input-blocks", &s.InputBlocks, "32", "", "levels", inFile, "levels of blocks below one file or directory", "two levels of 1,024 links over chunks of 1 MiB hold a TiB"},
		{"input-time", &s.InputTime, "1h", "", "duration", inFile, "time to read one input", "ten times what 10 GiB take from a slow disk"},
		{"input-cache", &s.InputCache, "", "a quarter of the free disk", "bytes", inFile, "inputs that are kept as files when no task uses them, and as much again as CARs", "the second job over the same data starts at once"},

		{"min-free", &s.MinFree, "", "5 % of the file system, 10 GiB at most", "bytes", start, "free disk below which no job, upload or fetch is taken", "running jobs still have to write their outputs, and the node its records"},
		{"storage-max", &s.StorageMax, "", "no limit but min-free", "bytes", start, "size of the block store above which nothing new is taken", "a node of its own may use its disk; on a shared one, give it a part"},
		{"gc-watermark", &s.GCWatermark, "90", "", "percent", inFile, "how near to min-free or storage-max garbage is collected", "Kubo's own; late enough to keep what was fetched, early enough to refuse nobody"},
		{"gc-period", &s.GCPeriod, "1h", "", "time", inFile, "how often garbage is collected in any case", "Kubo's own; what is pinned or in use always stays"},

		{"door-listen", &s.DoorListen, "", "a free port of all addresses, kept", "multiaddr or off", start, "where newcomers with an invitation ask, such as /ip4/0.0.0.0/tcp/4102; off: nowhere", "without an invitation's key nothing but noise comes over this port"},
		{"door-announce", &s.DoorAnnounce, "", "what it listens on", "multiaddrs", start, "addresses of the door that invitations and other members are told instead, such as /dns4/node.example.org/tcp/4102", "behind a forwarded port only you know them"},
		{"p2p-listen", &s.P2PListen, "", "a free port of all addresses, kept", "multiaddr or off", start, "where the other members of the domain reach this node, such as /ip4/0.0.0.0/tcp/4101; off: this node stays by itself", "without the domain's secret nothing but noise comes over this port, without a certificate no byte of a protocol"},
		{"p2p-announce", &s.P2PAnnounce, "", "what it listens on", "multiaddrs", start, "addresses that other members are told instead, such as /dns4/node.example.org/tcp/4101", "behind a forwarded port only you know them"},
		{"p2p-lan", &s.P2PLAN, "false", "", "true or false", start, "find members on the local network by multicast DNS", "it tells the domain's id to everybody on that network; members that know one address find each other without it"},
		{"relay-bytes", &s.RelayBytes, "16GiB", "", "bytes", inFile, "what one connection that other members have by way of this node may move, both ways together; they make a new one then", "more than the largest input; whoever relays does so with its own line, and nobody should have that for ever"},
		{"relay-time", &s.RelayTime, "2h", "", "time", inFile, "how long one connection by way of this node lasts; its ends make a new one then", "a new one takes a second, and those that wait for a place get a turn"},
		{"labels", &s.Labels, "", "none", "KEY=VALUE", start, "labels of this node, which jobs may ask for and the other members are shown; may be repeated, also as --label", "only you know what is special about a machine"},
		{"bus", &s.Bus, "p2p", "", "p2p or mqtt", start, "what messages between members go by; blocks always go by p2p", "p2p needs no other program; mqtt suits a site that has a broker"},
		{"broker", &s.Broker, "", "the one of broker-listen", "URL", start, "broker for bus mqtt: mqtt://HOST[:1883] or mqtts://HOST[:8883]", "nobody's broker is asked unless told to"},
		{"broker-password-file", &s.BrokerPasswordFile, "", "a password signed by this node, as the broker of another node takes it", "file", inFile, "file with the password for broker; the user is the node's id", "a broker of your own has users of its own"},
		{"broker-ca", &s.BrokerCA, "", "the system's", "file", inFile, "certificate authority of broker", "many brokers have certificates of their own making"},
		{"broker-listen", &s.BrokerListen, "", "none", "HOST:PORT", start, "run a broker for the domain in this node, such as 127.0.0.1:1883; elsewhere than on loopback it needs broker-cert", "one node of a site does as well as a second program"},
		{"broker-cert", &s.BrokerCert, "", "none", "file", inFile, "certificate chain of broker-listen", "announcements are signed, but not secret"},
		{"broker-key", &s.BrokerKey, "", "none", "file", inFile, "private key of broker-cert", "the same"},

		{"outlets", &s.Outlets, "", "outlets.yaml in path", "file", inFile, "who may publish results where and tell whom, with the passwords for it; readable by its owner only", "nothing leaves a node unless its administrator has said where to"},
		{"outlet-pause", &s.OutletPause, "10s", "", "duration", inFile, "pause before a delivery that failed is tried again; it doubles, up to an hour, 16 tries in all", "a service that restarts is back by then, and one that is away for a night is met again"},

		{"log-level", &s.LogLevel, "info", "", "debug, info, warn or error", start, "least level that is logged", "info tells each change of a job's state, debug each request too"},
		{"log-format", &s.LogFormat, "text", "", "text or json", start, "form of a log line", "people read it more often than programs"},
		{"log-file", &s.LogFile, "", "standard error, with -d node.log in path", "file", start, "file for the log", "an init system takes standard error; a detached node has none"},
		{"log-size", &s.LogSize, "10MiB", "", "bytes", inFile, "size at which log-file is put aside as log-file.1", "a week of a busy node at level info"},
		{"log-files", &s.LogFiles, "3", "", "files", inFile, "log files that are kept, the newest included", "with log-size it bounds the log at 30 MiB"},

		{"task-cpu", &s.TaskCPU, "", "cpu", "processors", inFile, "most processors that one task may ask for", "who may use a node may use all of it, unless it is shared"},
		{"task-memory", &s.TaskMemory, "", "memory", "bytes", inFile, "most memory that one task may ask for", "the same"},
		{"task-disk", &s.TaskDisk, "", "disk", "bytes", inFile, "most disk that one task may ask for", "the same"},
		{"task-run", &s.TaskRun, "", "30d", "duration", inFile, "longest run time that one task may ask for", "the same"},
		{"task-pids", &s.TaskPids, "256", "", "processes", inFile, "processes and threads of a container", "numpy and shells need tens; a fork bomb ends within a second"},
		{"task-nofile", &s.TaskNoFile, "1024", "", "files", inFile, "open files of one process", "the usual soft limit; programs are tested with it"},
		{"task-files", &s.TaskFiles, "10000", "", "files", inFile, "files that a task may write to /outputs", "with 1 GiB an average of 100 kB; an inode takes 256 bytes of the volume"},
		{"task-tmp", &s.TaskTmp, "64MiB", "", "bytes", inFile, "size of /tmp in a container", "counts as memory; larger scratch belongs into /outputs"},
		{"task-shm", &s.TaskShm, "16MiB", "", "bytes", inFile, "size of /dev/shm in a container", "counts as memory; semaphores and small arrays fit"},
		{"task-log", &s.TaskLog, "10MiB", "", "bytes", inFile, "log that is kept of one try of a task", "the first and the last half are kept, more is read by nobody"},
		{"tenant-jobs", &s.TenantJobs, "10000", "", "jobs", inFile, "jobs of one tenant that have not ended", "a day of short jobs; a program that submits in a circle ends here"},
		{"tenant-schedules", &s.TenantSchedules, "100", "", "schedules", inFile, "schedules of one tenant", "what people keep an eye on; the node keeps 10,000 in all"},
		{"cron-interval", &s.CronInterval, "1m", "", "duration", inFile, "the least time between two instants of a schedule", "what cron expressions say; @every could say nanoseconds"},
		{"sweep-every", &s.SweepEvery, "30s", "", "duration", inFile, "how often leftovers are looked for", "a listing of the engine takes milliseconds; a leftover holds memory"},
		{"lease", &s.Lease, "1m", "", "duration", inFile, "how long a member that runs a task may be silent", "it beats at a third of it; a shorter one takes a slow network for a loss, a longer one waits for the dead"},
		{"gang-arrive", &s.GangArrive, "15m", "", "duration", inFile, "how long the tasks of a gang may take until all can start, their images and inputs included", "1 GB comes in a quarter of an hour at 10 Mbit/s; who is later is given up and the gang formed without it, as the others hold their room meanwhile"},
		{"repair", &s.Repair, "1h", "", "duration", inFile, "how long a member that holds a copy may be away before another one makes one", "a reboot or an update takes minutes, and a copy of a large result as long; sooner, each of them would cost a copy"},
		{"orphans", &s.Orphans, "90d", "", "duration", inFile, "how long copies are held for a member that is not heard of any more", "after a loss they may be all that is left, and somebody has to notice; for ever, they would fill the disk"},
		{"work-kept", &s.WorkKept, "7d", "", "duration", inFile, "how long record, log and output of a task done for another member are kept here after its end; the spec's keep where that is shorter", "its owner has it all by then, and who holds copies has pins for them; it spares the same work again and serves the next jobs over it, for ever it would fill the disk"},
		{"engine-wait", &s.EngineWait, "1m30s", "", "duration", inFile, "how long jobs wait for an engine that does not answer, and tasks of other members for a Kubo or a disk", "after a boot the engine is often slower than the node; of a task that is given back its owner finds another member"},
		{"stop-grace", &s.StopGrace, "5s", "", "duration", inFile, "from SIGTERM to SIGKILL for a program that is stopped", "enough to write a last file; docker stop gives 10 s"},

		{"api-max-conns", &s.APIMaxConns, "256", "", "connections", inFile, "connections to the port at once; more are closed, the socket has no bound", "four times what a busy dashboard and a dozen clients hold open"},
		{"api-rate", &s.APIRate, "100", "", "requests a second", inFile, "requests that one token may make on average over the port, twice as many at once", "a client that polls each 10 ms is a mistake; one job takes some milliseconds of disk"},
		{"api-upload", &s.APIUpload, "10GiB", "", "bytes", inFile, "size of one CAR that is uploaded", "the size of an input that one task may have"},
		{"api-upload-time", &s.APIUploadTime, "6h", "", "duration", inFile, "time for all of such a CAR", "10 GiB at half a megabyte a second; longer ones hold disk that nobody may ever use"},
		{"api-timeout", &s.APITimeout, "2m", "", "duration", inFile, "time for a request that is no stream", "the longest such answer, a list of 500 jobs, takes under a second"},
		{"api-body-stall", &s.APIBodyStall, "1m", "", "duration", inFile, "time after which a request body that brings nothing is cut", "a client that packs files pauses for seconds; a dead one holds a connection"},
		{"api-event-stall", &s.APIEventStall, "30s", "", "duration", inFile, "time after which a reader of events that takes nothing is cut", "it loses nothing, as it resumes with Last-Event-ID"},
		{"api-stream-stall", &s.APIStreamStall, "15m", "", "duration", inFile, "the same for logs and downloads", "a log may be read in a pager"},
		{"api-grace", &s.APIGrace, "5s", "", "duration", inFile, "time for requests under way when the node stops", "an init system kills after 10 s or more"},
	}
}

// defaultPath follows the XDG base directory specification.
func defaultPath() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ipdc")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "ipdc")
}

func tilde(path string) string {
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(path, home+"/") {
		return "~" + path[len(home):]
	}
	return path
}

// maxSocket is the longest socket path that is used; the kernel's limit is 107
// bytes.
const maxSocket = 100

// socket is the path of the node's API socket: in the state directory, or
// under a hashed name in the runtime directory when that path is too long.
func (s settings) socket() string {
	path := filepath.Join(s.Path, "api.sock")
	if len(path) <= maxSocket {
		return path
	}
	sum := sha256.Sum256([]byte(s.Path))
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || len(dir) > 60 {
		dir = fmt.Sprintf("/tmp/ipdc-%d", os.Getuid())
	}
	return filepath.Join(dir, "ipdc-"+hex.EncodeToString(sum[:8])+".sock")
}

// capacity is what jobs may use together.
func (s settings) capacity() (c wire.Capacity, err error) {
	total, err := memoryTotal()
	if err != nil {
		return c, err
	}
	free, err := diskFree(s.Path)
	if err != nil {
		return c, err
	}
	return wire.Capacity{
		CPU:    cmp.Or(s.CPU, jobspec.CPU(runtime.NumCPU())*1000),
		Memory: cmp.Or(s.Memory, total/5*4),
		Disk:   cmp.Or(s.Disk, free/5*4),
	}, nil
}

// setting reads a flag's text into a unit of jobspec unless it is empty.
func setting(name, text string, to encoding.TextUnmarshaler) error {
	if text == "" {
		return nil
	}
	if err := to.UnmarshalText([]byte(text)); err != nil {
		return usagef("--%s %q: %w", name, text, err)
	}
	return nil
}

// readToken reads a secret from a file that only its owner may read.
func readToken(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("token file %s may be read by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

// limits are what a job may have on this node.
func (s settings) limits() sidecar.Limits {
	return sidecar.Limits{
		Pids: int64(s.TaskPids), NoFile: int64(s.TaskNoFile), Files: int64(s.TaskFiles),
		Tmp: s.TaskTmp, Shm: s.TaskShm, Log: s.TaskLog,
		Task: jobspec.Resources{CPU: s.TaskCPU, Memory: s.TaskMemory, Disk: s.TaskDisk}, Run: s.TaskRun,
		Jobs: s.TenantJobs, Schedules: s.TenantSchedules, Interval: s.CronInterval, Dataset: int64(s.DatasetEntries),
	}
}
