package schedule

// WithoutRows takes away what keeps an instant from being recorded twice, to
// show that tests would see it.
func (e *Engine) WithoutRows() { e.unsafeTwice = true }

// Visited waits for what goes on in the background.
func (e *Engine) Visited() { e.visits.wg.Wait() }
