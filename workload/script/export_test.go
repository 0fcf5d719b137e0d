package script

// Def is what the scanner finds.
type Def struct {
	Name     string
	Line     int
	Async    bool
	NoParams bool
}

// Scan shows the scanner to the tests.
func Scan(source []byte) []Def {
	found := []Def{}
	for _, d := range scan(source) {
		found = append(found, Def{d.name, d.line, d.async, d.noParams})
	}
	return found
}
