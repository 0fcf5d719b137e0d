package mapreduce

import (
	"regexp"

	"github.com/ipdc/ipdc/wire/guest"
)

// streaming makes the job of commands.
func (j Job) streaming() (Program, error) {
	if j.Combine {
		return Program{}, refuse("--combine", "is for Python functions", "with commands give --combiner COMMAND")
	}
	code, err := folder(j.Files)
	if err != nil {
		return Program{}, err
	}
	s := sides{io: "lines", image: j.Image}
	if j.Mapper != "" || j.Combiner != "" {
		s.mapCode = code
	}
	if j.Reducer != "" {
		s.reduceCode = code
	}
	if s.image == "" {
		s.image = j.usualImage()
	}
	s.mapper, s.reducer, s.combiner = j.shell(j.Mapper), j.shell(j.Reducer), j.text(j.Combiner)
	s.sample = s.mapper
	return j.spec(s), nil
}

// shell is what runs a command; none stays none.
func (j Job) shell(text string) []string {
	if text == "" {
		return nil
	}
	return []string{"sh", "-c", j.text(text)}
}

// text is a command as the shell gets it: where files are put beside it, it
// begins among them.
func (j Job) text(text string) string {
	if text == "" || len(j.Files) == 0 {
		return text
	}
	return "cd " + guest.Code + " || exit\n" + text
}

var wantsPython = regexp.MustCompile(`\bpython3?\b|\.py\b`)

// usualImage is python where a command or a file seems to need it, else shell.
func (j Job) usualImage() string {
	texts := []string{j.Mapper, j.Reducer, j.Combiner}
	for name := range j.Files {
		texts = append(texts, name)
	}
	for _, t := range texts {
		if wantsPython.MatchString(t) {
			return "python"
		}
	}
	return "shell"
}
