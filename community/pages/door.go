package pages

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

func (p *Pages) signInForm(c *gin.Context) error {
	if _, ok := signedIn(c); ok {
		redirect(c, localPath(c.Query("next")))
		return nil
	}
	return p.showSignIn(c, http.StatusOK, c.Query("next"), "", nil)
}

func (p *Pages) signIn(c *gin.Context) error {
	name, next := c.PostForm("name"), c.PostForm("next")
	token, _, err := p.Accounts.SignIn(c.Request.Context(), name, c.PostForm("password"), browser(c))
	if err != nil {
		return p.showSignIn(c, statusOf(err), next, name, err)
	}
	p.signInAs(c, token)
	redirect(c, localPath(next))
	return nil
}

func (p *Pages) showSignIn(c *gin.Context, status int, next, name string, refusal error) error {
	refused, err := doorErrors(refusal)
	if err != nil {
		return err
	}
	return p.show(c, status, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "signin")
		page := &web.SignIn{Layout: l, Next: localPath(next), Name: name, Errors: refused}
		fresh, err := tx.NobodySignedIn(ctx)
		if fresh {
			page.Hint = "signin.hint"
		}
		return page, err
	})
}

func (p *Pages) signUpForm(c *gin.Context) error {
	if _, ok := signedIn(c); ok {
		redirect(c, localPath(c.Query("next")))
		return nil
	}
	return p.showSignUp(c, http.StatusOK, c.Query("next"), "", "", nil)
}

func (p *Pages) signUp(c *gin.Context) error {
	name, display, next := c.PostForm("name"), c.PostForm("display"), c.PostForm("next")
	token, _, err := p.Accounts.SignUp(c.Request.Context(), name, display, c.PostForm("password"), browser(c))
	if err != nil {
		return p.showSignUp(c, statusOf(err), next, name, display, err)
	}
	p.signInAs(c, token)
	redirect(c, localPath(next))
	return nil
}

func (p *Pages) showSignUp(c *gin.Context, status int, next, name, display string, refusal error) error {
	refused, err := doorErrors(refusal)
	if err != nil {
		return err
	}
	return p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "signup")
		return &web.SignUp{Layout: l, Next: localPath(next), Name: name, DisplayName: display, Errors: refused}, nil
	})
}

func (p *Pages) signOut(c *gin.Context) error {
	in, ok := signedIn(c)
	if !ok {
		redirect(c, web.PathHome)
		return nil
	}
	err := p.Accounts.SignOut(c.Request.Context(), in)
	if f, refused := fault.Of(err); err != nil && (!refused || f.Kind != fault.NotFound) {
		return err
	}
	p.setCookie(c, sessionCookie, "", -1)
	p.Live.SignedOut(c.Request.Context(), in.User.Handle)
	redirect(c, web.PathHome)
	return nil
}

// doorErrors shows every refusal at the door on the form itself, a closed account as well.
func doorErrors(refusal error) (map[string]string, error) {
	refused := make(map[string]string)
	if refusal == nil {
		return refused, nil
	}
	f, ok := fault.Of(refusal)
	if !ok {
		return nil, refusal
	}
	refused[f.Field] = f.Text
	return refused, nil
}
