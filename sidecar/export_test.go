package sidecar

// What is pure or small is tested from outside by these names.
var (
	ContainerTask = containerTask
	ContainerUID  = containerUID
)

// Followed is how many jobs somebody may wait for.
func (s *Sidecar) Followed() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.wakes)
}

// TaskPaths are the host paths of an attempt.
type TaskPaths = taskPaths
