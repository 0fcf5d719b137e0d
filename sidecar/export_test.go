package sidecar

// What is pure or small is tested from outside by these names.
var (
	ContainerTask = containerTask
	ContainerUID  = containerUID
)

// TaskPaths are the host paths of an attempt.
type TaskPaths = taskPaths
