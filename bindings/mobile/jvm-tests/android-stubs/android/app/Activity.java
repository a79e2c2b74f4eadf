package android.app;

import android.content.Context;
import android.os.Bundle;
import android.view.View;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class Activity extends Context {
    public Activity() {
        super(null);
    }

    protected void onCreate(Bundle state) {}

    protected void onDestroy() {}

    public void setContentView(View view) {}

    public Context getApplicationContext() {
        return this;
    }
}
