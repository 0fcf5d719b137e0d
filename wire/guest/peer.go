package guest

// A connection to PeersSocket begins with one line: HelloAccept, which waits
// for a stream that another task opens, or HelloTo and the name of the task
// that a stream is for. Nothing is sent then until one byte came: Joined, by
// the sidecar to who waits, and by who waited to who opened. Frames follow,
// from one guest to the other, see SendFrames.
const (
	HelloAccept = "accept"
	HelloTo     = "to "
	MaxHello    = 80 // bytes, newline included
)

// The bytes that answer a hello.
const (
	Joined   = '+' // frames follow
	Deaf     = '-' // the task's program does not listen
	NotThere = '?' // the task does not run now
)
